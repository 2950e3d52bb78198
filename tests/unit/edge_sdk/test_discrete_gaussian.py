"""The exact sampler against its own probabilities, and its building blocks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.discrete_gaussian import MAX_SIGMA, sample_discrete_gaussian
from edge_sdk.errors import InvalidOptionError
from edge_sdk.random_words import SeededWords, SystemWords, fractions, integers_below

if TYPE_CHECKING:
    from numpy.typing import NDArray


def seeded(seed: int = 0) -> SeededWords:
    return SeededWords(np.random.default_rng(seed))


@pytest.mark.parametrize("sigma", [1, 2, 5])
def test_every_integer_comes_as_often_as_it_should(sigma: int) -> None:
    count, reach = 60_000, 12 * sigma
    x = np.arange(-reach, reach + 1)
    mass = np.exp(-(x**2) / (2 * sigma**2))
    expected = count * mass / mass.sum()
    got = np.bincount(sample_discrete_gaussian(sigma, count, seeded()) + reach, minlength=len(x))
    common = expected > 10
    chi2 = float(np.sum((got - expected)[common] ** 2 / expected[common]))
    freedom = int(common.sum()) - 1
    assert abs(chi2 - freedom) < 4 * math.sqrt(2 * freedom)
    assert got.sum() == count


@pytest.mark.parametrize("sigma", [300, 1 << 20, MAX_SIGMA])
def test_large_deviations_are_within_half_a_percent(sigma: int) -> None:
    x = sample_discrete_gaussian(sigma, 200_000, seeded(1))
    assert x.std() == pytest.approx(sigma, rel=0.005)
    assert abs(x.mean()) < 5 * sigma / math.sqrt(len(x))
    assert np.mean(np.abs(x) > 2 * sigma) == pytest.approx(0.0455, abs=0.002)


def test_the_systems_randomness_repeats_nothing() -> None:
    first, second = (sample_discrete_gaussian(1 << 20, 100, SystemWords()) for _ in range(2))
    assert (first != second).all()
    assert sample_discrete_gaussian(3, 0, SystemWords()).shape == (0,)


@pytest.mark.parametrize("sigma", [0, -1, MAX_SIGMA + 1, 2.0])
def test_other_deviations_are_refused(sigma: object) -> None:
    with pytest.raises(InvalidOptionError, match="sigma"):
        sample_discrete_gaussian(sigma, 1, seeded())  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 2**33 + 1, 2**63])
def test_integers_are_uniform_below_their_limit(limit: int) -> None:
    x = integers_below(limit, 20_000, seeded(2))
    assert x.min() >= 0
    assert x.max() <= limit - 1
    assert x.mean() == pytest.approx((limit - 1) / 2, rel=0.05, abs=0.001)
    with pytest.raises(InvalidOptionError):
        integers_below(0, 1, seeded())


def test_fractions_are_in_the_half_open_unit_interval() -> None:
    x = fractions(10_000, seeded(3))
    assert 0 <= x.min() < 0.01
    assert 0.99 < x.max() < 1


class Counted:
    """Counts the words that are drawn."""

    def __init__(self) -> None:
        self.drawn = 0
        self._words = seeded(3)

    def words(self, count: int) -> NDArray[np.uint64]:
        self.drawn += count
        return self._words.words(count)


@pytest.mark.parametrize(
    ("limit", "words"), [(1, 0), (2, 125), (256, 125), (2**9, 250), (2**32, 500), (2**33, 1000)]
)
def test_small_integers_take_a_part_of_a_word_each(limit: int, words: int) -> None:
    random = Counted()
    x = integers_below(limit, 1000, random)  # powers of two, so that none is rejected
    assert random.drawn == words
    assert len(x) == 1000
    assert len(np.unique(x)) > 0.6 * min(limit, 1000)


@pytest.mark.parametrize("limit", [3, 5, 200, 40_000])
def test_every_integer_below_a_limit_is_as_likely(limit: int) -> None:
    count = 50 * limit
    found = np.bincount(integers_below(limit, count, seeded(4)), minlength=limit)
    assert len(found) == limit
    chi2 = float(np.sum((found - 50) ** 2 / 50))
    assert abs(chi2 - (limit - 1)) < 5 * math.sqrt(2 * limit)
