"""Digits: scikit-learn's 1,797 real handwritten digits, enlarged from 8x8 to 28x28 pixels."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import MissingExtraError
from export.tasks.base import TEST, VALIDATION, ImagePool, check_split, pool_digest
from export.tasks.ink import enlarge_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_DIGITS = 10
_SPLIT_SEED = 20_240_229  # fixed for good: figures on "test" are comparable across runs
_CELL = 3.0
_GREY_LEVELS = 16


class DigitTasks:
    """Real digits; held out from all training, so there is no split "train".

    "validation" is a fixed third of each digit's images, for decisions; "test" is the rest. The
    data set does not say who wrote an image: all have user 0. `digit_writers` simulates users.
    """

    name = "digits"

    def __init__(self) -> None:
        """Load the data set that scikit-learn carries.

        Raises:
            MissingExtraError: scikit-learn is not installed.
        """
        cells, self._labels = _load()
        matrix = enlarge_matrix(cells.shape[-1], _CELL)
        ink = np.clip(matrix @ cells @ matrix.T, 0.0, 1.0)
        self._images = np.rint(ink * 255).astype(np.uint8)

    def pool(self, split: str) -> ImagePool:
        """The images of `split`.

        Raises:
            NoSuchSplitError: `split` is not "validation" or "test".
        """
        check_split(split, (VALIDATION, TEST), self.name)
        return self._pools[split]

    def digest(self) -> str:
        """SHA-256 hex over both splits."""
        return pool_digest(list(self._pools.items()))

    @cached_property
    def _pools(self) -> dict[str, ImagePool]:
        rng = np.random.default_rng(_SPLIT_SEED)
        held = np.zeros(len(self._labels), dtype=bool)
        for digit in range(NUM_DIGITS):
            rows = rng.permutation(np.flatnonzero(self._labels == digit))
            held[rows[: len(rows) // 3]] = True
        return {
            split: ImagePool(
                images=self._images[rows],
                classes=self._labels[rows],
                users=np.zeros(len(rows), dtype=np.int64),
                class_names=[str(digit) for digit in range(NUM_DIGITS)],
            )
            for split, rows in (
                (VALIDATION, np.flatnonzero(held)),
                (TEST, np.flatnonzero(~held)),
            )
        }


def _load() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Ink in 0..1, float32 `[n, 8, 8]`, and digits, int64 `[n]`."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415  (an optional dependency)
    except ImportError as error:
        msg = "the digits need scikit-learn; install edge-sdk[export]"
        raise MissingExtraError(msg) from error
    data = load_digits()
    cells = (data.images / _GREY_LEVELS).astype(np.float32)
    return cells, data.target.astype(np.int64)
