"""What a source of few-shot tasks is, and how episodes are drawn from one.

A source is a pool of images with a class and a user (writer, drawer) each, split so that no class
(and, where the source says so, no user) of one split occurs in another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePool:
    """Labelled images of one split.

    Attributes:
        images: uint8 `[num_images, 28, 28]`, ink 255, paper 0.
        classes: int64 `[num_images]`, an index into `class_names`.
        users: int64 `[num_images]`: who wrote the image.
        class_names: One name a class.
    """

    images: NDArray[np.uint8]
    classes: NDArray[np.int64]
    users: NDArray[np.int64]
    class_names: Sequence[str]
    _rows: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False)

    def rows_of(self, cls: int) -> NDArray[np.int64]:
        """Rows whose class is `cls`, ascending; int64 `[k]`."""
        if not self._rows:
            order = np.argsort(self.classes, kind="stable")
            found, starts = np.unique(self.classes[order], return_index=True)
            parts = np.split(order, starts[1:])
            self._rows.update({int(c): part for c, part in zip(found, parts, strict=True)})
        return self._rows[cls]


class TaskSource(Protocol):
    """A named source of tasks. Same name, options and seed: same pools, bit for bit."""

    name: str

    def pool(self, split: str) -> ImagePool:
        """The images of `split` ("train", "validation" or "test")."""

    def digest(self) -> str:
        """SHA-256 hex that identifies the data, for provenance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeBatch:
    """Several episodes that may share images, so that each image is embedded once.

    Attributes:
        images: float32 `[num_images, 1, 28, 28]`, ink 1, paper 0.
        support: int64 `[episodes, ways * shots]`, rows of `images`.
        support_y: int64 `[episodes, ways * shots]`, in `0..ways-1`.
        query: int64 `[episodes, ways * queries]`, rows of `images`.
        query_y: int64 `[episodes, ways * queries]`.
        ways: Classes in each episode.
    """

    images: NDArray[np.float32]
    support: NDArray[np.int64]
    support_y: NDArray[np.int64]
    query: NDArray[np.int64]
    query_y: NDArray[np.int64]
    ways: int
