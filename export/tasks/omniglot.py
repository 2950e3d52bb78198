"""Omniglot: 1,623 real handwritten characters, each by 20 drawers, from a data folder."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from edge_sdk.errors import InvalidOptionError
from export.tasks.archive import read_archive
from export.tasks.base import (
    IMAGE_SIZE,
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    BadDataError,
    ImagePool,
    check_split,
    pool_digest,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

OmniglotSplit = Literal["vinyals", "lake"]

ARCHIVE = "omniglot/omniglot28.npz"
NUM_DRAWERS = 20
QUARTERS = 4
"""Ways to turn an image by right angles."""
LAKE_VALIDATION_ALPHABETS = 5
"""Of the 30 background alphabets, the last five serve as validation in the split "lake"."""

_HOW_TO_GET = (
    "download images_background.zip and images_evaluation.zip from "
    "github.com/brendenlake/omniglot, put both into one folder, and run: "
    "python -m export.tasks.omniglot_convert FOLDER DATA"
)


class OmniglotTasks:
    """Characters, and their turns by 90, 180 and 270 degrees, as classes; drawers as users.

    A user is one drawer of one alphabet: the numbers of drawers do not name the same person across
    alphabets. A group is an alphabet, and turned it is another one.
    """

    name: str

    def __init__(
        self, data: Path | None, *, split: OmniglotSplit = "vinyals", rotations: bool = True
    ) -> None:
        """Read the archive.

        Args:
            data: The data folder, which holds `omniglot/omniglot28.npz`.
            split: "vinyals": the 1,028 / 172 / 423 characters that Vinyals et al. (NeurIPS 2016)
                train, validate and test on. "lake" (called `omniglot-lake`): the 30 background
                alphabets (the last five of them to validate on) and the 20 evaluation alphabets.
            rotations: Each character also counts as three turned classes; of "lake" only to train
                on, since its test is within one alphabet as it is written.

        Raises:
            InvalidOptionError: `split` is neither.
            DataNotFoundError: There is no such file.
            BadDataError: The file does not hold what it should.
        """
        if split not in get_args(OmniglotSplit):
            msg = f"split must be one of {', '.join(get_args(OmniglotSplit))}, got {split!r}"
            raise InvalidOptionError(msg)
        self.split = split
        self.name = "omniglot" if split == "vinyals" else f"omniglot-{split}"
        turned = () if not rotations else SPLITS if split == "vinyals" else (TRAIN,)
        self._turns = {part: QUARTERS if part in turned else 1 for part in SPLITS}
        content = _read(data)
        self._images, self._names = content["images"], content["names"]
        self._alphabets = content["alphabet"].astype(np.int64)
        self._parts = _parts(content, split)
        self._pools: dict[str, ImagePool] = {}

    def pool(self, split: str) -> ImagePool:
        """The images of `split`, `20 * turns` for each of its characters.

        Raises:
            NoSuchSplitError: `split` is not "train", "validation" or "test".
        """
        check_split(split, SPLITS, self.name)
        if split not in self._pools:
            self._pools[split] = self._build(self._parts[split], turns=self._turns[split])
        return self._pools[split]

    def digest(self) -> str:
        """SHA-256 hex over all three splits, unturned, and how often each is turned."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return pool_digest(
            [(f"{s} x {self._turns[s]}", self._build(self._parts[s], turns=1)) for s in SPLITS]
        )

    def _build(self, characters: NDArray[np.int64], *, turns: int) -> ImagePool:
        base = self._images[characters]
        count = len(characters) * NUM_DRAWERS
        turned = [
            np.rot90(base, t, axes=(2, 3)).reshape(count, IMAGE_SIZE, -1) for t in range(turns)
        ]
        users = self._alphabets[characters][:, None] * NUM_DRAWERS + np.arange(NUM_DRAWERS)
        names = [f"{self._names[c]}/rot{90 * t:03d}" for t in range(turns) for c in characters]
        return ImagePool(
            images=np.concatenate(turned),
            classes=np.arange(len(names), dtype=np.int64).repeat(NUM_DRAWERS),
            users=np.tile(users.reshape(-1), turns),
            class_names=names,
            groups=(self._alphabets[characters] * QUARTERS + np.arange(turns)[:, None])
            .reshape(-1)
            .repeat(NUM_DRAWERS),
        )


def _read(data: Path | None) -> dict[str, NDArray[Any]]:
    needs = {"images", "names", "alphabet", "split", "vinyals_split"}
    content = read_archive(data, ARCHIVE, needs=needs, how_to_get=_HOW_TO_GET)
    images = content["images"]
    if images.dtype != np.uint8 or images.shape[1:] != (NUM_DRAWERS, IMAGE_SIZE, IMAGE_SIZE):
        msg = f"{ARCHIVE}: images must be uint8 [n, 20, 28, 28], got {images.dtype} {images.shape}"
        raise BadDataError(msg)
    return content


def _parts(content: dict[str, NDArray[Any]], split: str) -> dict[str, NDArray[np.int64]]:
    """Character indices of each split."""
    if split == "vinyals":
        part = content["vinyals_split"]
        return {name: np.flatnonzero(part == i) for i, name in enumerate(SPLITS)}
    background, alphabet = content["split"] == 0, content["alphabet"]
    last = np.unique(alphabet[background])[-LAKE_VALIDATION_ALPHABETS:]
    held_out = background & np.isin(alphabet, last)
    return {
        TRAIN: np.flatnonzero(background & ~held_out),
        VALIDATION: np.flatnonzero(held_out),
        TEST: np.flatnonzero(~background),
    }
