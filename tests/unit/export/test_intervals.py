"""Intervals cover the true mean as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from export.intervals import mean_interval


def test_a_known_case() -> None:
    found = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3
    assert found.half_width == pytest.approx(2.776445 * np.sqrt(2.5 / 5), rel=1e-6)
    assert (found.low, found.high) == (3 - found.half_width, 3 + found.half_width)
    assert found.count == 5


def test_coverage_is_95_percent(rng: np.random.Generator) -> None:
    hits = [
        (found := mean_interval(rng.normal(1.0, 2.0, 8))).low < 1.0 < found.high
        for _ in range(2000)
    ]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


def test_one_value_has_no_interval() -> None:
    with pytest.raises(InvalidOptionError, match="at least two values, got 1"):
        mean_interval([0.5])
