from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.paired_tests import (
    Answers,
    GuessComparison,
    PairedComparison,
    at_least,
    lower_bound,
    sign_flip,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def answers(right: ArrayLike, probability: list[float] | None = None) -> Answers:
    flags = np.array(right, dtype=bool)
    given = np.array(probability or right, dtype=np.float64)
    return Answers(flags, given, given)


@pytest.mark.parametrize(("n", "rate"), [(1, 0.5), (7, 0.3), (40, 0.5), (90, 0.01)])
def test_binomial_tails_are_exact_sums(n: int, rate: float) -> None:
    for k in range(-1, n + 2):
        want = math.fsum(
            math.comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(max(k, 0), n + 1)
        )
        assert at_least(k, n, rate) == pytest.approx(min(want, 1), abs=1e-12)


def test_binomial_tails_at_sure_rates() -> None:
    assert at_least(1, 5, 0.0) == 0
    assert at_least(5, 5, 1.0) == 1
    assert at_least(0, 0, 0.5) == 1
    assert at_least(6, 5, 1.0) == 0


def test_the_lower_bound_is_where_the_tail_is_the_confidence_left() -> None:
    for wins, n in ((1, 1), (3, 10), (10, 10), (70, 100)):
        bound = lower_bound(wins, n, confidence=0.9)
        assert at_least(wins, n, bound) == pytest.approx(0.1, abs=1e-9)
    assert lower_bound(0, 10, confidence=0.9) == 0


def test_tests_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="the device package itself has no scipy")
    for wins, n in ((0, 5), (4, 4), (9, 14), (30, 45)):
        exact = stats.binomtest(wins, n, 0.5, alternative="greater")
        assert at_least(wins, n, 0.5) == pytest.approx(exact.pvalue, abs=1e-12)
        low = exact.proportion_ci(0.9, method="exact").low
        assert lower_bound(wins, n, confidence=0.9) == pytest.approx(low, abs=1e-9)


def test_a_comparison_counts_where_only_one_was_right() -> None:
    first, second = answers([1, 1, 1, 0, 0, 1]), answers([1, 0, 0, 1, 0, 0])
    found = PairedComparison.of(first, second, confidence=0.9)
    assert (found.num, found.wins, found.losses) == (6, 3, 1)
    assert found.difference == pytest.approx(2 / 6)
    assert found.p_better == pytest.approx(5 / 16)
    assert found.p_worse == pytest.approx(15 / 16)
    assert found.low < found.difference < found.high
    assert found.low >= -1
    assert found.high <= 1


def test_a_comparison_seen_from_the_other_side_is_its_mirror() -> None:
    rng = np.random.default_rng(0)
    one, two = (answers(rng.random(60) < share, rng.random(60).tolist()) for share in (0.8, 0.6))
    here = PairedComparison.of(one, two, confidence=0.9)
    there = PairedComparison.of(two, one, confidence=0.9)
    assert here.difference == -there.difference
    assert here.low == pytest.approx(-there.high)
    assert here.p_better == there.p_worse
    assert here.p_surer == pytest.approx(1 - there.p_surer)
    for chance in (0.01, 0.1, 0.3):
        assert here.shown_better(chance) == there.shown_worse(chance)


def test_the_bound_is_above_zero_exactly_where_the_sign_test_shows_it() -> None:
    for wins, losses in product(range(9), range(9)):
        first = answers([1] * wins + [0] * losses + [1] * 5)
        second = answers([0] * wins + [1] * losses + [1] * 5)
        found = PairedComparison.of(first, second, confidence=0.9)
        assert (found.low > 1e-9) == (found.p_better <= 0.1 + 1e-12)


def test_states_that_agree_are_neither_better_nor_worse() -> None:
    same = answers([1, 0, 1] * 50)
    found = PairedComparison.of(same, same, confidence=0.9)
    assert not found.shown_better(0.3)
    assert not found.shown_worse(0.3)
    assert (found.low, found.high) == (0, 0)


def test_the_finer_test_confirms_a_lean_but_never_replaces_it() -> None:
    surer, less_sure = [0.9] * 30, [0.5] * 30
    leaning = answers([1, 1, 1] + [1] * 27, surer), answers([0, 0, 0] + [1] * 27, less_sure)
    found = PairedComparison.of(*leaning, confidence=0.9)
    assert found.p_better == pytest.approx(1 / 8)
    assert found.shown_better(0.1)  # 1 / 8 alone would not do
    unsure = PairedComparison.of(
        answers([1] * 30, less_sure), answers([0, 0, 0] + [1] * 27, less_sure), confidence=0.9
    )
    assert not unsure.shown_better(0.1)
    equal = PairedComparison.of(
        answers([1] * 30, surer), answers([1] * 30, less_sure), confidence=0.9
    )
    assert not equal.shown_better(0.3)  # surer, but right no more often


@pytest.mark.parametrize("chance", [0.01, 0.1, 0.15, 0.3])
def test_however_sure_no_state_with_as_many_losses_as_wins_is_shown_better(chance: float) -> None:
    for wins, losses in ((0, 0), (1, 1), (3, 3), (5, 6), (20, 20)):
        right = [1] * wins + [0] * losses + [1] * 30
        wrong = [0] * wins + [1] * losses + [1] * 30
        found = PairedComparison.of(
            answers(right, [0.9] * len(right)), answers(wrong, [0.2] * len(right)), confidence=0.9
        )
        assert found.p_surer < 0.001
        assert not found.shown_better(chance)


def test_the_sign_flip_probability_is_calibrated() -> None:
    rng = np.random.default_rng(1)
    size = rng.random(40)
    found = [sign_flip(size * rng.choice([-1, 1], 40)) for _ in range(4000)]
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.02)
    assert sign_flip(np.zeros(3)) == 0.5
    assert sign_flip(np.array([0.7, 0.7, 0, 0, 0])) == 0.25  # two coins
    assert sign_flip(np.ones(20)) < 1e-5


def test_guessing_is_a_binomial() -> None:
    found = GuessComparison.of(np.array([1, 1, 1, 0], dtype=bool), guess_rate=0.25)
    assert (found.num, found.right) == (4, 3)
    assert found.p_better == pytest.approx(13 / 256)
    assert found.p_worse == pytest.approx(255 / 256)
