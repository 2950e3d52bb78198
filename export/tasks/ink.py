"""From pen points to 28x28 images: a round soft pen, and the coarse grid of a scanner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.tasks.base import IMAGE_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 256


def render(
    points: NDArray[np.float32], ink: NDArray[np.float32], pen: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Draw pen points, each a Gaussian dot, and saturate.

    A dot is a product of a column and a row profile, so that an image is one matrix product over
    its points.

    Args:
        points: `[n, p, 2]`, (x, y) in pixels; pixel `[row, column]` has its centre at
            `(column + 0.5, row + 0.5)`.
        ink: `[n, p]`: length of pen travel, in pixels, times darkness.
        pen: Radius (standard deviation) of the dot, in pixels, `[n]`.

    Returns:
        Images, float32 `[n, 28, 28]`, in 0..1.
    """
    centres = np.arange(IMAGE_SIZE, dtype=np.float32) + np.float32(0.5)
    images = np.empty((len(points), IMAGE_SIZE, IMAGE_SIZE), np.float32)
    for at in range(0, len(points), _CHUNK):
        part = slice(at, at + _CHUNK)
        radius = pen[part, None, None]
        columns = np.exp(-0.5 * ((points[part, :, 0, None] - centres) / radius) ** 2)
        rows = np.exp(-0.5 * ((points[part, :, 1, None] - centres) / radius) ** 2)
        # a straight line of darkness 1 reaches ink 1 in its middle
        rows *= (ink[part] / (np.sqrt(2 * np.pi) * pen[part, None]))[..., None]
        np.matmul(rows.transpose(0, 2, 1), columns, out=images[part])
    return np.minimum(images, 1.0, out=images)


def rescan(
    images: NDArray[np.float32], cell: NDArray[np.float32], phase: NDArray[np.float32]
) -> NDArray[np.float32]:
    """See each image through a coarse grid and enlarge it again.

    Args:
        images: `[n, 28, 28]`.
        cell: Side of a grid cell in pixels, `[n]`; few different values. 1 or less: unchanged.
        phase: Offset of the grid in cells, `[n]`; few different values.
    """
    result = images.copy()
    for kind in {(float(c), float(p)) for c, p in zip(cell, phase, strict=True) if c > 1}:
        rows = np.flatnonzero((cell == np.float32(kind[0])) & (phase == np.float32(kind[1])))
        matrix = _rescan_matrix(*kind)
        result[rows] = matrix @ images[rows] @ matrix.T
    return np.clip(result, 0.0, 1.0, out=result)


def enlarge_matrix(cells: int, cell: float, phase: float = 0.0) -> NDArray[np.float32]:
    """Cubic (Keys, 1981) interpolation from `cells` grid cells to the 28 pixels, `[28, cells]`.

    The grid is centred on the image, moved by `phase` cells; beyond it there is paper.
    """
    pixels = np.arange(IMAGE_SIZE) + 0.5
    place = (pixels - IMAGE_SIZE / 2) / cell + cells / 2 - 0.5 - phase
    x = np.abs(place[:, None] - np.arange(cells))
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0)).astype(np.float32)


def _rescan_matrix(cell: float, phase: float) -> NDArray[np.float32]:
    """Average over grid cells, then enlarge, `[28, 28]`."""
    cells = int(np.ceil(IMAGE_SIZE / cell)) + 1
    start = IMAGE_SIZE / 2 + (np.arange(cells) - cells / 2 + phase) * cell
    pixels = np.arange(IMAGE_SIZE)
    upper = np.minimum(start[:, None] + cell, pixels + 1)
    overlap = np.maximum(0.0, upper - np.maximum(start[:, None], pixels))
    average = (overlap / cell).astype(np.float32)
    matrix: NDArray[np.float32] = enlarge_matrix(cells, cell, phase) @ average
    return matrix
