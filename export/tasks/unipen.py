"""UNIPEN: real handwritten letters and digits by 192 writers, split by writer."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from export.tasks.archive import read_archive
from export.tasks.base import (
    IMAGE_SIZE,
    SPLITS,
    BadDataError,
    ImagePool,
    check_split,
    pool_digest,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ARCHIVE = "unipen/unipen_chars.npz"
SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
"""Parts of the writers."""

_SPLIT_SEED = 20_240_229  # fixed for good: figures on "test" are comparable across runs
_HOW_TO_GET = (
    "the file holds the characters of UNIPEN's train_r01_v07 (Zenodo, doi 10.5281/zenodo.1195803) "
    "as 28x28 images with label, writer and donor; its README says how they were drawn"
)


class UnipenTasks:
    """Characters as classes, writers as users: no writer of one split occurs in another.

    All splits share the 62 classes (digits, upper and lower case), so this is for personalization
    to people rather than to new classes. A group is the laboratory that collected the writer's
    drawings. The data is for evaluation: bundles that were trained on it may not be shipped.
    """

    name = "unipen"

    def __init__(self, data: Path | None) -> None:
        """Read the archive.

        Raises:
            DataNotFoundError: There is no `unipen/unipen_chars.npz` in `data`.
            BadDataError: The file does not hold what it should.
        """
        self._content = _read(data)
        self._pools: dict[str, ImagePool] = {}

    def pool(self, split: str) -> ImagePool:
        """The drawings of the writers of `split`.

        Raises:
            NoSuchSplitError: `split` is not "train", "validation" or "test".
        """
        check_split(split, SPLITS, self.name)
        if split not in self._pools:
            self._pools[split] = self._whole.take(
                np.flatnonzero(np.isin(self._whole.users, self._writers[split]))
            )
        return self._pools[split]

    def digest(self) -> str:
        """SHA-256 hex over all three splits."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return pool_digest([(split, self.pool(split)) for split in SPLITS])

    @cached_property
    def _whole(self) -> ImagePool:
        content = self._content
        writers = content["writer"].astype(np.int64)
        return ImagePool(
            images=content["images"],
            classes=content["label"].astype(np.int64),
            users=writers,
            class_names=[str(name) for name in content["classes"]],
            groups=content["writer_donor"].astype(np.int64)[writers],
        )

    @cached_property
    def _writers(self) -> dict[str, NDArray[np.int64]]:
        order = np.random.default_rng(_SPLIT_SEED).permutation(np.unique(self._whole.users))
        ends = np.cumsum([round(SHARES[split] * len(order)) for split in SPLITS[:-1]])
        return dict(zip(SPLITS, np.split(order, ends), strict=True))


def _read(data: Path | None) -> dict[str, NDArray[Any]]:
    needs = {"images", "label", "classes", "writer", "writer_donor"}
    content = read_archive(data, ARCHIVE, needs=needs, how_to_get=_HOW_TO_GET)
    images, count = content["images"], len(content["label"])
    if images.dtype != np.uint8 or images.shape != (count, IMAGE_SIZE, IMAGE_SIZE):
        msg = (
            f"{ARCHIVE}: images must be uint8 [{count}, 28, 28], got {images.dtype} {images.shape}"
        )
        raise BadDataError(msg)
    fits = (
        content["writer"].shape == (count,)
        and content["label"].min() >= 0
        and content["label"].max() < len(content["classes"])
        and content["writer"].min() >= 0
        and content["writer"].max() < len(content["writer_donor"])
    )
    if not fits:
        msg = f"{ARCHIVE}: labels or writers are out of range"
        raise BadDataError(msg)
    return content
