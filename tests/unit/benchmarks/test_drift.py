"""A fast version of benchmarks/guard/drift.py; the targets are those of the full one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("onnx", reason="needs the extra export")

from benchmarks.guard.drift import (
    delays,
    false_alarms,
    normal_sources,
    shift_delays,
    shift_false_alarms,
    summary,
)

if TYPE_CHECKING:
    import numpy as np


def test_false_alarms_and_delay_keep_to_their_targets(rng: np.random.Generator) -> None:
    num = 20_000
    assert 1000 * false_alarms(0.1, num, rng) / num <= 0.05
    found = summary(delays(0.1, 0.3, 500, 30, rng))
    assert found["median_delay"] <= 150
    assert found["missed"] <= 2


def test_feature_shift_false_alarms_and_delay_keep_to_their_targets(
    rng: np.random.Generator,
) -> None:
    reference, draw, shifts = normal_sources()
    assert shift_false_alarms(reference, draw, 20_000, rng) <= 1
    shifted = shifts["normal, shifted by 0.5 deviations"]
    found = summary(shift_delays(reference, draw, shifted, 20, rng))
    assert found["median_delay"] <= 60


def test_missed_changes_count_as_the_longest_delay() -> None:
    assert summary([None, 10, None]) == {
        "median_delay": 1000.0,
        "p90_delay": 1000.0,
        "missed": 2,
        "streams": 3,
    }
