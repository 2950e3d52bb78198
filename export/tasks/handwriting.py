"""How a writer turns the ideal form of a glyph into a drawing: lasting style, passing jitter."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from export.tasks.base import IMAGE_SIZE
from export.tasks.glyph_shapes import MAX_STROKES, POINTS, bounding_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.tasks.glyph_shapes import Shapes

_WAVES = 3
_FRAME = 24.0
"""Side, in pixels, of the box that a drawing of ordinary size fills."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WriterStyles:
    """Persistent habits of some writers; each field is float32 `[writers]`.

    Attributes:
        slant: Horizontal shear, as a tangent.
        rotation: Radians.
        aspect: Logarithm of width over height.
        size: Logarithm of the size in the frame.
        pen: Radius of the pen, in pixels.
        pressure: How much fainter the end of a stroke is than its start, in -1..1.
        ink: Darkness gain of the pen.
        wobble: Deviation of the low frequencies of a stroke, in half frames.
        warp: Deviation of the smooth bending of the whole drawing, in half frames.
        sloppiness: Deviation of a stroke's place, turn and length from the ideal ones.
        roundness: How far corners are cut, 0..1.
    """

    slant: NDArray[np.float32]
    rotation: NDArray[np.float32]
    aspect: NDArray[np.float32]
    size: NDArray[np.float32]
    pen: NDArray[np.float32]
    pressure: NDArray[np.float32]
    ink: NDArray[np.float32]
    wobble: NDArray[np.float32]
    warp: NDArray[np.float32]
    sloppiness: NDArray[np.float32]
    roundness: NDArray[np.float32]

    def take(self, writers: NDArray[np.int64]) -> WriterStyles:
        """The styles of `writers`, in that order."""
        return WriterStyles(**{f.name: getattr(self, f.name)[writers] for f in fields(self)})


def draw_styles(num_writers: int, rng: np.random.Generator) -> WriterStyles:
    """Invent `num_writers` writers."""

    def normal(deviation: float, mean: float = 0.0) -> NDArray[np.float32]:
        return rng.normal(mean, deviation, num_writers).astype(np.float32)

    def uniform(low: float, high: float) -> NDArray[np.float32]:
        return rng.uniform(low, high, num_writers).astype(np.float32)

    return WriterStyles(
        slant=normal(0.18, mean=-0.05),
        rotation=normal(0.08),
        aspect=normal(0.15),
        size=normal(0.05, mean=-0.04),
        pen=uniform(0.7, 1.5),
        pressure=uniform(-0.3, 0.5),
        ink=uniform(1.3, 2.6),
        wobble=uniform(0.02, 0.10),
        warp=uniform(0.03, 0.12),
        sloppiness=uniform(0.02, 0.09),
        roundness=uniform(0.0, 1.0),
    )


def write(
    shapes: Shapes, styles: WriterStyles, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw each row of `shapes` once, in the style of the same row of `styles`.

    Returns:
        Points of the pen in pixels, float32 `[n, MAX_STROKES, POINTS, 2]`, and the ink that each
        leaves, float32 `[n, MAX_STROKES, POINTS]`: 0 where a stroke is absent.
    """
    points = _vary_strokes(shapes.points, styles, rng)
    points = _bend(points, styles, rng)
    points = np.einsum("nspd,ned->nspe", points, _hands(styles, rng))
    points = _frame(points, shapes.present, styles, rng)
    steps = np.diff(points, axis=2)
    length = np.sqrt((steps * steps).sum(-1))
    along = np.zeros(points.shape[:3], np.float32)
    along[:, :, :-1] += length / 2
    along[:, :, 1:] += length / 2
    t = np.linspace(-0.5, 0.5, POINTS, dtype=np.float32)
    force = styles.ink[:, None] * (1 - styles.pressure[:, None] * t)
    return points, along * force[:, None] * shapes.present[:, :, None]


def _vary_strokes(
    points: NDArray[np.float32], styles: WriterStyles, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Cut corners; change each stroke's ends, place, turn, length and course by itself."""
    n = len(points)
    blend = (styles.roundness * rng.uniform(0.3, 1, n)).astype(np.float32)[:, None, None, None]
    points = points + blend * (np.einsum("qp,nspd->nsqd", _SMOOTH, points) - points)
    sloppy = styles.sloppiness[:, None]
    shape = (n, MAX_STROKES)
    ends = 1.5 * sloppy[..., None] * _normal(rng, (*shape, 2))
    points = _resample(points, ends[..., 0], 1 + ends[..., 1])
    centre = points.mean(axis=2, keepdims=True)
    turn = 1.5 * sloppy * _normal(rng, shape)
    stretch = np.exp(1.5 * sloppy * _normal(rng, shape))
    cos, sin = stretch * np.cos(turn), stretch * np.sin(turn)
    x, y = np.moveaxis(points - centre, -1, 0)
    points = np.stack(
        [x * cos[..., None] - y * sin[..., None], x * sin[..., None] + y * cos[..., None]], axis=-1
    )
    points += centre + sloppy[..., None, None] * _normal(rng, (*shape, 1, 2))
    amplitude = styles.wobble[:, None, None, None] * _normal(rng, (*shape, 2, len(_SINES)))
    wobbled: NDArray[np.float32] = points + np.einsum("nsdk,kp->nspd", amplitude, _SINES)
    return wobbled


def _resample(
    points: NDArray[np.float32], start: NDArray[np.float32], stop: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Let strokes run from `start` to `stop` of their course; beyond 0..1 they go straight on."""
    t = np.linspace(0, 1, POINTS, dtype=np.float32)
    place = (start[..., None] + (stop - start)[..., None] * t) * (POINTS - 1)
    left = np.clip(place.astype(np.int64), 0, POINTS - 2)
    b = (place - left)[..., None]
    before = np.take_along_axis(points, left[..., None], axis=2)
    after = np.take_along_axis(points, left[..., None] + 1, axis=2)
    return before + b * (after - before)


def _bend(
    points: NDArray[np.float32], styles: WriterStyles, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Move all strokes of a drawing through one smooth random field."""
    n = len(points)
    field = np.zeros_like(points)
    for _ in range(_WAVES):
        frequency = 1.2 * _normal(rng, (n, 2))
        phase = rng.uniform(0, 2 * np.pi, n).astype(np.float32)
        amplitude = styles.warp[:, None] * _normal(rng, (n, 2))
        wave = np.sin(np.einsum("nspd,nd->nsp", points, frequency) + phase[:, None, None])
        field += wave[..., None] * amplitude[:, None, None]
    return points + field


def _hands(styles: WriterStyles, rng: np.random.Generator) -> NDArray[np.float32]:
    """One linear map a drawing: slant, rotation and aspect with some jitter, `[n, 2, 2]`."""
    n = len(styles.slant)
    slant = styles.slant + 0.07 * _normal(rng, (n,))
    angle = styles.rotation + 0.06 * _normal(rng, (n,))
    width = np.exp((styles.aspect + 0.10 * _normal(rng, (n,))) / 2)
    cos, sin = np.cos(angle), np.sin(angle)
    top = np.stack([width * cos, width * (slant * cos) - sin / width], axis=-1)
    bottom = np.stack([width * sin, width * (slant * sin) + cos / width], axis=-1)
    return np.stack([top, bottom], axis=1)


def _frame(
    points: NDArray[np.float32],
    present: NDArray[np.bool_],
    styles: WriterStyles,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Fit each drawing into the frame, as people write into a box of a form, and go to pixels."""
    n = len(points)
    low, high = bounding_box(points, present)
    side = np.maximum((high - low).max(axis=1), 0.2)
    scale = _FRAME / side * np.exp(styles.size + 0.05 * _normal(rng, (n,)))
    shift = IMAGE_SIZE / 2 + 0.6 * _normal(rng, (n, 2))
    centre = (low + high) / 2
    scaled = (points - centre[:, None, None]) * scale[:, None, None, None]
    framed: NDArray[np.float32] = scaled + shift[:, None, None]
    return framed


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.standard_normal(shape, dtype=np.float32)


def _smoothing(width: int) -> NDArray[np.float32]:
    """Triangular average over neighbouring points that keeps the ends, `[POINTS, POINTS]`."""
    place = np.arange(POINTS)
    reach = np.minimum(width, np.minimum(place, POINTS - 1 - place))[:, None] + 1
    matrix = np.maximum(0, reach - np.abs(place[:, None] - place))
    average: NDArray[np.float64] = matrix / matrix.sum(axis=1, keepdims=True)
    return average.astype(np.float32)


_SMOOTH = _smoothing(8)
_K = np.arange(1, 4)[:, None]
_SINES = (np.sin(np.pi * _K * np.linspace(0, 1, POINTS)) / _K).astype(np.float32)
