"""HAPT: 30 people's movements by a phone's accelerometer and gyroscope, as pictures of windows.

Reyes-Ortiz, Oneto, Sama, Parra and Anguita, "Transition-Aware Human Activity Recognition Using
Smartphones", Neurocomputing 171, 2016. A picture is a fold: seven signals (acceleration and
rotation by axis, and the length of the acceleration), each as four rows of 28 samples, so that what
reads 28x28 pictures reads movements too. The data is for evaluation: there is a test split alone.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from export.tasks.archive import read_archive
from export.tasks.base import (
    IMAGE_SIZE,
    TEST,
    BadDataError,
    ImagePool,
    check_split,
    pool_digest,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ARCHIVE = "hapt/hapt_raw.npz"
_HOW_TO_GET = (
    "the file holds the raw recordings of UCI's Smartphone-Based Recognition of Human Activities "
    "and Postural Transitions v2.1, cut into windows of 128 samples; its README says how"
)
_BASIC = 6  # walking, upstairs, downstairs, sitting, standing, laying; not the transitions
_WINDOW = 128
_FOLD = 4  # rows of a signal
_SAMPLES = _FOLD * IMAGE_SIZE  # in the middle of a window
_AXES = 3
_RANGE_G, _RANGE_RAD_S, _LENGTH_G = 2.0, 4.0, 2.5
_NEEDS = {
    "signals",
    "scale",
    "activity_names",
    "win_start",
    "win_label",
    "win_user",
    "win_segment",
}


class HaptTasks:
    """Six activities as classes, people as users. Windows of a pool do not overlap."""

    name = "hapt"

    def __init__(self, data: Path | None) -> None:
        """Read the archive.

        Raises:
            DataNotFoundError: There is no `hapt/hapt_raw.npz` in `data`.
            BadDataError: The file does not hold what it should.
        """
        content = read_archive(data, ARCHIVE, needs=_NEEDS, how_to_get=_HOW_TO_GET)
        _check(content)
        self._content = content

    def pool(self, split: str) -> ImagePool:
        """All people's windows.

        Raises:
            NoSuchSplitError: `split` is not "test".
        """
        check_split(split, (TEST,), self.name)
        return self._pool

    def digest(self) -> str:
        """SHA-256 hex over the pool."""
        return pool_digest([(TEST, self._pool)])

    @cached_property
    def _pool(self) -> ImagePool:
        content = self._content
        segment = content["win_segment"]
        first = np.concatenate([[True], segment[1:] != segment[:-1]])
        place = np.arange(len(segment)) - np.maximum.accumulate(
            np.where(first, np.arange(len(segment)), 0)
        )
        # Windows overlap by half, so every second one of a segment shares no sample with another.
        kept = np.flatnonzero((content["win_label"] <= _BASIC) & (place % 2 == 0))
        rows = content["win_start"][kept].astype(np.int64)[:, np.newaxis] + np.arange(_WINDOW)
        windows = content["signals"][rows] * content["scale"]
        return ImagePool(
            images=_pictures(windows),
            classes=content["win_label"][kept].astype(np.int64) - 1,
            users=content["win_user"][kept].astype(np.int64),
            class_names=[str(name) for name in content["activity_names"][:_BASIC]],
            description="a window of movement as a picture: seven signals of four rows each",
        )


def _pictures(windows: NDArray[np.float64]) -> NDArray[np.uint8]:
    """uint8 `[n, 28, 28]` of windows `[n, 128, 6]` in g and rad/s."""
    start = (_WINDOW - _SAMPLES) // 2
    middle = windows[:, start : start + _SAMPLES]
    acceleration, rotation = middle[..., :_AXES], middle[..., _AXES:]
    length = np.linalg.norm(acceleration, axis=2, keepdims=True)
    signals = np.concatenate(
        [
            acceleration / (2 * _RANGE_G) + 0.5,
            rotation / (2 * _RANGE_RAD_S) + 0.5,
            length / _LENGTH_G,
        ],
        axis=2,
    )
    grey = np.rint(255 * np.clip(signals, 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(grey.transpose(0, 2, 1)).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def _check(content: dict[str, NDArray[Any]]) -> None:
    signals, starts = content["signals"], content["win_start"]
    by_window = [content[name] for name in ("win_label", "win_user", "win_segment")]
    fits = (
        signals.ndim == 2
        and signals.shape[1] == content["scale"].size == 2 * _AXES
        and len(starts) > 0
        and all(array.shape == starts.shape for array in by_window)
        and len(content["activity_names"]) >= _BASIC
    )
    if not fits:
        msg = f"{ARCHIVE}: signals must be [samples, 6], and windows have a start, label and user"
        raise BadDataError(msg)
    if starts.min() < 0 or starts.max() + _WINDOW > len(signals) or content["win_label"].min() < 1:
        msg = f"{ARCHIVE}: labels or windows are out of range"
        raise BadDataError(msg)
