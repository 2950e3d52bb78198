"""Pictures of pen strokes, for bundles that know characters."""

from __future__ import annotations

import numpy as np

SHAPES = {
    "tent": ((4, 23), (14, 4), (24, 23)),
    "zed": ((5, 5), (23, 5), (5, 23), (23, 23)),
    "hook": ((14, 4), (14, 20), (8, 23), (4, 18)),
}
"""Corners (column, row) of characters that look nothing like each other."""


def drawings(name: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """The character by `count` unsteady hands, float32 `[count, 1, 28, 28]`, ink 1."""
    images = np.zeros((count, 1, 28, 28), np.float32)
    for image in images:
        corners = np.array(SHAPES[name], float) + rng.normal(0, 1, (len(SHAPES[name]), 2))
        along = np.linspace(0, len(corners) - 1, 200)
        x, y = (np.interp(along, range(len(corners)), axis) for axis in corners.T)
        column, row = np.clip(x, 1, 26).astype(int), np.clip(y, 1, 26).astype(int)
        image[0, row, column] = image[0, row, column + 1] = 1
    return images
