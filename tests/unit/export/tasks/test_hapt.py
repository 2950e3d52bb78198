"""Movements as pictures: the fold, windows that do not overlap, evaluation only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.tasks.base import BadDataError, DataNotFoundError, NoSuchSplitError
from export.tasks.hapt import HaptTasks
from federated.population import PopulationOptions, open_population

NAMES = [f"activity {i}" for i in range(12)]
STARTS = np.arange(0, 64 * 8, 64, dtype=np.int32)


def archive(folder: Path, **changes: Any) -> Path:
    """Two people, two segments of four windows each; the second is the second activity's."""
    (folder / "hapt").mkdir()
    rng = np.random.default_rng(0)
    content = {
        "signals": rng.integers(-700, 700, (64 * 9, 6), dtype=np.int16),
        "scale": np.array([1 / 720] * 3 + [0.0003] * 3),
        "activity_names": np.array(NAMES),
        "win_start": STARTS,
        "win_label": np.array([1] * 4 + [2] * 4, np.int8),
        "win_user": np.array([3] * 4 + [7] * 4, np.int8),
        "win_segment": np.array([0] * 4 + [1] * 4, np.int16),
    }
    np.savez(folder / "hapt" / "hapt_raw.npz", **{**content, **changes})
    return folder


def test_every_second_window_of_a_segment_is_a_picture(tmp_path: Path) -> None:
    pool = HaptTasks(archive(tmp_path)).pool("test")
    assert pool.images.shape == (4, 28, 28)
    assert pool.classes.tolist() == [0, 0, 1, 1]
    assert pool.users.tolist() == [3, 3, 7, 7]
    assert list(pool.class_names) == NAMES[:6]


def test_a_signal_is_four_rows_in_the_order_of_time(tmp_path: Path) -> None:
    signals = np.zeros((64 * 9, 6), np.int16)
    signals[8 : 8 + 112, 1] = np.arange(112) * 10 - 560
    signals[:, 0] = 720  # one g
    image = HaptTasks(archive(tmp_path, signals=signals)).pool("test").images[0]
    assert np.all(image[:4] == round(255 * 0.75))
    flat = image[4:8].ravel().astype(int)
    assert np.all(np.diff(flat) >= 0)
    assert flat[0] == round(255 * (0.5 - 560 / 720 / 4))
    assert np.all(image[12:24] == round(255 * 0.5))
    assert np.all(image[24:].ravel() >= round(255 / 2.5))


def test_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(NoSuchSplitError, match="test"):
        HaptTasks(archive(tmp_path)).pool("train")


def test_transitions_are_left_out(tmp_path: Path) -> None:
    labels = np.array([1] * 4 + [7] * 4, np.int8)
    pool = HaptTasks(archive(tmp_path, win_label=labels)).pool("test")
    assert pool.users.tolist() == [3, 3]


@pytest.mark.parametrize(
    "changes",
    [
        {"signals": np.zeros((64 * 9, 5), np.int16)},
        {"win_user": np.zeros(3, np.int8)},
        {"win_start": STARTS + 64},
        {"win_label": np.zeros(8, np.int8)},
        {"activity_names": np.array(NAMES[:3])},
    ],
)
def test_other_contents_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BadDataError, match="hapt_raw"):
        HaptTasks(archive(tmp_path, **changes))


def test_without_a_data_folder_it_says_what_to_get() -> None:
    with pytest.raises(DataNotFoundError, match="EDGE_SDK_DATA"):
        HaptTasks(None)


def test_the_real_people_take_part_or_are_held_out() -> None:
    data = Path(os.environ.get("EDGE_SDK_DATA", "none"))
    if not (data / "hapt" / "hapt_raw.npz").is_file():
        pytest.skip("EDGE_SDK_DATA names no folder with hapt/hapt_raw.npz")
    population = open_population(
        "hapt", PopulationOptions(writers=0, held_out=9), max_classes=32, data=data
    )
    assert population.labels[:2] == ("WALKING", "WALKING_UPSTAIRS")
    users = [np.unique(pool.users) for pool in (population.taking_part, population.held_out)]
    assert [len(found) for found in users] == [21, 9]
    assert not set(users[0]) & set(users[1])
    for pool, found in zip((population.taking_part, population.held_out), users, strict=True):
        assert all(len(np.unique(pool.of_user(int(user)).classes)) == 6 for user in found)
