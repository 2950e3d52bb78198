"""Laws of the released counts: how much one user can change, and how much noise covers it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.judgement import ACCURACY_STEPS, Judgement
from edge_sdk.random_words import SeededWords
from federated.evaluation.counts import (
    BINS,
    SENSITIVITY,
    SIZE,
    contribution,
    noise_sigma,
    release,
    total,
)

SHARE = st.integers(0, ACCURACY_STEPS)
JUDGEMENTS = st.builds(Judgement, current=SHARE, candidate=SHARE)


@given(JUDGEMENTS)
def test_what_one_user_adds_is_whole_and_bounded(judgement: Judgement) -> None:
    vector = contribution(judgement)
    assert (vector.shape, vector.dtype) == ((SIZE,), np.int64)
    assert int(vector @ vector) <= SENSITIVITY**2 + 1e-6
    assert np.count_nonzero(vector[4 : 4 + BINS]) == np.count_nonzero(vector[4 + BINS :]) == 1


def test_the_bound_is_reached_so_it_is_no_larger_than_needed() -> None:
    worst = contribution(Judgement(current=0, candidate=ACCURACY_STEPS))
    assert math.sqrt(int(worst @ worst)) == SENSITIVITY


@given(st.lists(JUDGEMENTS, max_size=30), JUDGEMENTS, st.randoms(use_true_random=False))
def test_one_user_more_changes_the_sum_by_the_bound_at_most_in_any_order(
    others: list[Judgement], one: Judgement, random: object
) -> None:
    without = total(others)
    shuffled = [*others, one]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert np.linalg.norm(total(shuffled) - without) <= SENSITIVITY + 1e-9


@given(st.lists(JUDGEMENTS, min_size=1, max_size=20))
def test_without_noise_the_sums_are_those_of_the_users(judgements: list[Judgement]) -> None:
    found = release(total(judgements), 1, None)
    gains = [(j.candidate - j.current) / ACCURACY_STEPS for j in judgements]
    assert found.count == len(judgements)
    assert abs(found.gain - math.fsum(gains)) < 1e-9
    assert 0 <= math.fsum(g * g for g in gains) - found.square <= len(gains) / 256
    assert found.by_current.sum() == found.by_candidate.sum() == len(judgements)
    assert found.gain_noise == found.histogram_noise == 0


@pytest.mark.parametrize("multiplier", [0.7, 4.0])
def test_the_measured_noise_is_what_is_claimed(multiplier: float) -> None:
    """200 releases of nothing: the deviation of all counts together, within 2 %."""
    sigma = noise_sigma(multiplier)
    assert sigma >= multiplier * SENSITIVITY
    words = SeededWords(np.random.default_rng(5))
    drawn = [release(np.zeros(SIZE, np.int64), sigma, words) for _ in range(200)]
    single = [
        [getattr(found, name) / getattr(found, f"{name}_noise") for found in drawn]
        for name in ("count", "gain", "square", "accuracy")
    ]
    bins = [
        np.concatenate([found.by_current, found.by_candidate]) / found.histogram_noise
        for found in drawn
    ]
    unit = np.concatenate([np.array(single).T, np.array(bins)], axis=1)
    assert unit.shape == (200, SIZE)
    assert abs(unit.std() - 1) < 0.02
    assert np.abs(unit.std(axis=0) - 1).max() < 5 / math.sqrt(2 * 200)
    assert np.abs(unit.mean(axis=0)).max() < 5 / math.sqrt(200)
    # in steps: what covers one user's bound on the whole vector
    assert drawn[0].gain_noise * 1024 == sigma
