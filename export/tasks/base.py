"""What a source of few-shot tasks is, and how episodes are drawn from one.

A source is a pool of images with a class and a user (writer, drawer) each, split so that no class
of one split occurs in another, or, where the source says so, no user. A source of values is a pool
of functions (`export.tasks.functions`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from edge_sdk.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)
IMAGE_SIZE = 28


class DataNotFoundError(EdgeError, FileNotFoundError):
    """A source's files are not where it looks for them; the message says how to get them."""

    code = "data_not_found"


class BadDataError(EdgeError, ValueError):
    """A source's file is there but does not hold what its documentation says."""

    code = "bad_data"


class NoSuchSplitError(EdgeError, LookupError):
    """A source has no split of that name."""

    code = "no_such_split"


class NotEnoughImagesError(EdgeError, ValueError):
    """A pool cannot supply the episodes that are asked for."""

    code = "not_enough_images"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePool:
    """Labelled images of one split.

    Attributes:
        images: uint8 `[num_images, height, width]` (grey) or `[num_images, channels, height,
            width]`, ink 255, paper 0.
        classes: int64 `[num_images]`, an index into `class_names`.
        users: int64 `[num_images]`: who wrote the image.
        class_names: One name a class.
        groups: int64 `[num_images]`: what the class belongs to, such as an alphabet; None where
            the source has no such thing.
        description: What the numbers of a model input mean, for people.
    """

    images: NDArray[np.uint8]
    classes: NDArray[np.int64]
    users: NDArray[np.int64]
    class_names: Sequence[str]
    groups: NDArray[np.int64] | None = None
    description: str = "one grey image; ink 1, paper 0"
    _rows: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one model input."""
        shape = self.images.shape[1:]
        return (1, *shape) if len(shape) == 2 else tuple(shape)

    @property
    def outputs(self) -> int:
        """Of a value; labels are one."""
        return 1

    @property
    def task(self) -> Literal["classification"]:
        """What a learner learns from it."""
        return "classification"

    def inputs(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The images in `rows` as a model takes them, float32 `[k, *input_shape]`; ink is 1."""
        chosen = self.images[rows].astype(np.float32)
        chosen /= 255.0
        return chosen.reshape(len(rows), *self.input_shape)

    def rows_of(self, cls: int) -> NDArray[np.int64]:
        """Rows whose class is `cls`, ascending; int64 `[k]`."""
        if not self._rows:
            order = np.argsort(self.classes, kind="stable")
            found, starts = np.unique(self.classes[order], return_index=True)
            parts = np.split(order, starts[1:])
            self._rows.update({int(c): part for c, part in zip(found, parts, strict=True)})
        return self._rows[cls]

    def of_user(self, user: int) -> ImagePool:
        """The images of one user; classes keep their indices.

        Raises:
            NotEnoughImagesError: The user has no image here.
        """
        return self.take(np.flatnonzero(self.users == user))

    def take(self, rows: NDArray[np.int64]) -> ImagePool:
        """The images in `rows`, in that order; classes and users keep their indices.

        Raises:
            NotEnoughImagesError: `rows` is empty.
        """
        if rows.size == 0:
            msg = "no image is left in the pool"
            raise NotEnoughImagesError(msg)
        return ImagePool(
            images=self.images[rows],
            classes=self.classes[rows],
            users=self.users[rows],
            class_names=self.class_names,
            groups=None if self.groups is None else self.groups[rows],
            description=self.description,
        )


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
        images: float32 `[num_images, *input_shape]`, ink 1, paper 0. Those of one class in one draw
            are neighbours: row `r` belongs to group `r // images_per_class`.
        support: int64 `[episodes, ways * shots]`, rows of `images`.
        support_y: int64 `[episodes, ways * shots]`, in `0..ways-1`; of a regression the values,
            float32 `[episodes, shots, outputs]`.
        query: int64 `[episodes, ways * queries]`, rows of `images`.
        query_y: As `support_y`, of the queries.
        ways: Classes in each episode; 1 for a regression.
        images_per_class: Neighbouring rows of `images` that show the same class.
        pool_rows: int64 `[num_images]`, which images of the pool they are; None of a regression.
    """

    images: NDArray[np.float32]
    support: NDArray[np.int64]
    support_y: NDArray[np.int64] | NDArray[np.float32]
    query: NDArray[np.int64]
    query_y: NDArray[np.int64] | NDArray[np.float32]
    ways: int
    images_per_class: int
    pool_rows: NDArray[np.int64] | None = None


def pool_digest(pools: Sequence[tuple[str, ImagePool]]) -> str:
    """SHA-256 hex over the pixels, classes, users and class names of `pools`, in order."""
    digest = hashlib.sha256()
    for split, pool in pools:
        header = [split, list(pool.images.shape), list(pool.class_names)]
        digest.update(json.dumps(header).encode())
        for array in (pool.images, pool.classes, pool.users):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def check_split(split: str, known: Sequence[str], source: str) -> None:
    """Raise `NoSuchSplitError` unless `split` is one of `known`."""
    if split not in known:
        msg = f"{source} has no split {split!r}; it has {', '.join(known)}"
        raise NoSuchSplitError(msg)
