"""Random small affine maps and mirrored classes, for training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentOptions:
    """Spread of the random maps; each number is the half width of a uniform distribution.

    Attributes:
        rotation: Degrees.
        shear: Tangent of the slant.
        scale: Natural logarithm of the factor, for each axis by itself.
        shift: Pixels.
        mirror: Half of the classes of a draw are mirrored, each as a whole: a mirrored character is
            another character.
    """

    rotation: float = 0.0
    shear: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    mirror: bool = False

    def __post_init__(self) -> None:
        for name in ("rotation", "shear", "scale", "shift"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                msg = f"{name} must be finite and >= 0, got {getattr(self, name)}"
                raise InvalidOptionError(msg)

    @property
    def warps(self) -> bool:
        """Whether any image is resampled at all."""
        return any((self.rotation, self.shear, self.scale, self.shift))


def augment(
    images: Tensor, *, images_per_class: int, options: AugmentOptions, rng: np.random.Generator
) -> Tensor:
    """Warp every image by itself, and mirror some classes.

    Args:
        images: `[n, 1, height, width]`; neighbours in runs of `images_per_class` show one class.
        images_per_class: Length of those runs; divides n.
        options: How much.
        rng: Source of all randomness.

    Returns:
        A new tensor of the same shape; paper (0) enters at the borders.
    """
    if options.mirror:
        groups = rng.random(len(images) // images_per_class) < 0.5
        mirrored = torch.from_numpy(groups.repeat(images_per_class))
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if not options.warps:
        return images
    theta = torch.from_numpy(_random_maps(len(images), images.shape[-1], options, rng))
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _random_maps(
    n: int, size: int, options: AugmentOptions, rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Maps from output to input coordinates in -1..1, float32 `[n, 2, 3]`."""
    angle = np.deg2rad(rng.uniform(-1, 1, n) * options.rotation)
    shear = rng.uniform(-1, 1, n) * options.shear
    factor = np.exp(rng.uniform(-1, 1, (2, n)) * options.scale)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.empty((n, 2, 3), np.float32)
    linear[:, 0, 0] = factor[0] * cos
    linear[:, 0, 1] = factor[0] * (shear * cos - sin)
    linear[:, 1, 0] = factor[1] * sin
    linear[:, 1, 1] = factor[1] * (shear * sin + cos)
    linear[:, :, 2] = rng.uniform(-1, 1, (n, 2)) * options.shift * 2 / size
    return linear
