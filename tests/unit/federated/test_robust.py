from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from federated.robust import aggregate
from federated.round_core import RoundOptions

HONEST = [np.full((2, 2), value, np.float32) for value in (1.0, 2.0, 3.0, 4.0)]
ATTACK = np.full((2, 2), 1e6, np.float32)


@pytest.mark.parametrize(
    ("aggregator", "want"), [("mean", 2.5), ("median", 2.5), ("trimmed_mean", 2.5)]
)
def test_without_an_attack_all_agree_on_what_is_symmetric(aggregator: str, want: float) -> None:
    np.testing.assert_allclose(aggregate(HONEST, aggregator, 0.25), want)


@pytest.mark.parametrize(("aggregator", "want"), [("median", 3.0), ("trimmed_mean", 3.0)])
def test_one_attacker_moves_a_robust_aggregate_no_further_than_an_honest_client(
    aggregator: str, want: float
) -> None:
    np.testing.assert_allclose(aggregate([*HONEST, ATTACK], aggregator, 0.2), want)
    assert aggregate([*HONEST, ATTACK], "mean", 0.2).max() > 1e5


def test_a_share_too_small_to_trim_is_the_mean() -> None:
    np.testing.assert_allclose(aggregate(HONEST, "trimmed_mean", 0.1), 2.5)


def test_sums_are_in_float64() -> None:
    values = [np.array([1e8], np.float32), np.array([1.0], np.float32)]
    assert aggregate(values, "mean", 0.0)[0] == (1e8 + 1) / 2


@pytest.mark.parametrize("wrong", [{"aggregator": "krum"}, {"trim_share": 0.5}])
def test_options_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError):
        RoundOptions(**wrong)  # type: ignore[arg-type]
