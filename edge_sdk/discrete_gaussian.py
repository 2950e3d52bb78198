"""Exact samples of the discrete Gaussian, in integer arithmetic.

Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy" (NeurIPS 2020),
algorithms 1 to 3, over whole arrays. No floating-point number takes part, so there is no low bit in
which noise and value could be told apart (Mironov, "On Significance of the Least Significant Bits
for Differential Privacy", CCS 2012).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from edge_sdk.random_words import integers_below

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_sdk.random_words import RandomWords

MAX_SIGMA = 1 << 24
"""Then every fraction below has a denominator under 2**63, unless an event of probability
1 / (2**14)! happens."""
_SPARE = 16


def sample_discrete_gaussian(sigma: int, count: int, random: RandomWords) -> NDArray[np.int64]:
    """Independent integers with probabilities proportional to `exp(-x**2 / (2 sigma**2))`.

    The Laplace proposal has the scale `sigma` itself, so that with an integer sigma every
    acceptance probability is `exp(-(|y| - sigma)**2 / (2 sigma**2))`: a fraction of int64 numbers.

    Args:
        sigma: An integer in `1..MAX_SIGMA`; the variance is at most `sigma**2`, and within 1e-6 of
            it from 2 on.
        count: How many, at least 0.
        random: Where the randomness comes from.

    Returns:
        `[count]`, int64.

    Raises:
        InvalidOptionError: `sigma` is outside its range.
    """
    if type(sigma) is not int or not 1 <= sigma <= MAX_SIGMA:
        msg = f"sigma must be an integer in 1..{MAX_SIGMA}, got {sigma!r}"
        raise InvalidOptionError(msg)
    accepted = [np.empty(0, np.int64)]
    missing = count
    while missing > 0:
        proposed = _discrete_laplace(sigma, missing + missing // 2 + _SPARE, random)
        distance = np.abs(proposed) - sigma
        keep = _bernoulli_exp(distance * distance, 2 * sigma * sigma, random)
        accepted.append(proposed[keep][:missing])
        missing -= len(accepted[-1])
    return np.concatenate(accepted)


def _discrete_laplace(scale: int, count: int, random: RandomWords) -> NDArray[np.int64]:
    """Algorithm 2 with s = 1: up to `count` with probabilities as `exp(-|x| / scale)`."""
    low = integers_below(scale, count, random)
    low = low[_bernoulli_exp_fraction(low, scale, random)]
    size = low + scale * _exp_runs(len(low), random)
    negative = (random.words(len(size)) & np.uint64(1)).astype(bool)
    drawn = np.where(negative, -size, size)
    kept: NDArray[np.int64] = drawn[~(negative & (size == 0))]
    return kept


def _bernoulli_exp(
    numerator: NDArray[np.int64], denominator: int, random: RandomWords
) -> NDArray[np.bool_]:
    """True with probability `exp(-numerator / denominator)`, element by element."""
    whole, rest = np.divmod(numerator, denominator)
    result = _bernoulli_exp_fraction(rest, denominator, random)
    far = np.flatnonzero(whole > 0)
    result[far] &= _exp_runs(len(far), random) >= whole[far]
    return result


def _bernoulli_exp_fraction(
    numerator: NDArray[np.int64], denominator: int, random: RandomWords
) -> NDArray[np.bool_]:
    """Algorithm 1 for `numerator <= denominator`: the first k with a failed draw is odd."""
    result = np.zeros(len(numerator), bool)
    going_on = np.arange(len(numerator))
    k = 1
    while len(going_on):
        drawn = integers_below(denominator * k, len(going_on), random)
        success = drawn < numerator[going_on]
        result[going_on[~success]] = k % 2 == 1
        going_on = going_on[success]
        k += 1
    return result


def _exp_runs(count: int, random: RandomWords) -> NDArray[np.int64]:
    """How often in a row a Bernoulli variable of probability exp(-1) comes true, `[count]`."""
    runs = np.zeros(count, np.int64)
    going_on = np.arange(count)
    while len(going_on):
        ones = np.ones(len(going_on), np.int64)
        going_on = going_on[_bernoulli_exp_fraction(ones, 1, random)]
        runs[going_on] += 1
    return runs
