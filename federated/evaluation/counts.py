"""The counts that are released of many judgements: whole numbers, bounded for each user, noised.

One user adds a vector of integers: 1, their gain in accuracy, its square, their accuracy with the
candidate, and where their two accuracies lie in two histograms; each in steps that say how much of
the noise it gets. The vector's L2 norm is at most `SENSITIVITY` whatever the user's data is, so a
discrete Gaussian of `noise multiplier * SENSITIVITY` on the sum is one Gaussian mechanism. All that
is said of the counts afterwards (`federated.evaluation.verdict`) is post-processing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.discrete_gaussian import MAX_SIGMA, sample_discrete_gaussian
from edge_sdk.errors import InvalidOptionError
from edge_sdk.judgement import ACCURACY_STEPS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from edge_sdk.judgement import Judgement
    from edge_sdk.random_words import RandomWords

BINS = 20
"""Of each histogram, equally wide over 0..1."""
_COUNT, _GAIN, _SQUARE, _ACCURACY, _HISTOGRAM = 256, 1024, 256, 512, 512
"""Steps in one user's 1: the gain decides, so it gets the least noise."""
_CURRENT, _CANDIDATE = 4, 4 + BINS
SIZE = 4 + 2 * BINS
SENSITIVITY = math.sqrt(_COUNT**2 + _GAIN**2 + _SQUARE**2 + _ACCURACY**2 + 2 * _HISTOGRAM**2)
"""Bound on the L2 norm of what one user adds, in steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """Sums over the users who judged, in users, with their noise.

    Attributes:
        count: How many judged.
        gain: Sum of their gains, each in -1..1.
        square: Sum of the gains' squares.
        accuracy: Sum of their accuracies with the candidate.
        by_current: How many lie in each bin of accuracy with the current bundle, `[BINS]`.
        by_candidate: The same with the candidate.
        count_noise: Standard deviation of the noise on `count`; 0 without noise, as the others.
        gain_noise: Of that on `gain`.
        square_noise: Of that on `square`.
        accuracy_noise: Of that on `accuracy`.
        histogram_noise: Of that on each bin.
    """

    count: float
    gain: float
    square: float
    accuracy: float
    by_current: NDArray[np.float64]
    by_candidate: NDArray[np.float64]
    count_noise: float
    gain_noise: float
    square_noise: float
    accuracy_noise: float
    histogram_noise: float


def contribution(judgement: Judgement) -> NDArray[np.int64]:
    """What one user adds to the sum, int64 `[SIZE]`; its norm is at most `SENSITIVITY`."""
    gain = judgement.candidate - judgement.current
    vector = np.zeros(SIZE, np.int64)
    vector[0] = _COUNT
    vector[1] = gain * _GAIN // ACCURACY_STEPS
    vector[2] = gain * gain * _SQUARE // ACCURACY_STEPS**2
    vector[3] = judgement.candidate * _ACCURACY // ACCURACY_STEPS
    vector[_CURRENT + _bin(judgement.current)] = _HISTOGRAM
    vector[_CANDIDATE + _bin(judgement.candidate)] = _HISTOGRAM
    return vector


def total(judgements: Iterable[Judgement]) -> NDArray[np.int64]:
    """Exact sum of what users add, int64 `[SIZE]`; one judgement a user."""
    found = np.zeros(SIZE, np.int64)
    for judgement in judgements:
        found += contribution(judgement)
    return found


def noise_sigma(noise_multiplier: float) -> int:
    """Deviation of the noise on the sum, in steps, rounded up.

    Raises:
        InvalidOptionError: It is beyond what the sampler draws.
    """
    sigma = math.ceil(noise_multiplier * SENSITIVITY)
    if sigma > MAX_SIGMA:
        msg = f"noise_multiplier must be at most {MAX_SIGMA / SENSITIVITY:.0f}"
        raise InvalidOptionError(msg)
    return sigma


def release(exact: NDArray[np.int64], sigma: int, random: RandomWords | None) -> Released:
    """Noise a sum and read it: the one place where judgements are released.

    Args:
        exact: The sum, int64 `[SIZE]`.
        sigma: Deviation of the noise, in steps.
        random: Where it comes from; None adds none, in runs that are not private.
    """
    noise = None if random is None else sample_discrete_gaussian(sigma, SIZE, random)
    noised = (exact if noise is None else exact + noise).astype(np.float64)
    deviation = 0.0 if random is None else float(sigma)
    return Released(
        count=float(noised[0]) / _COUNT,
        gain=float(noised[1]) / _GAIN,
        square=float(noised[2]) / _SQUARE,
        accuracy=float(noised[3]) / _ACCURACY,
        by_current=noised[_CURRENT:_CANDIDATE] / _HISTOGRAM,
        by_candidate=noised[_CANDIDATE:] / _HISTOGRAM,
        count_noise=deviation / _COUNT,
        gain_noise=deviation / _GAIN,
        square_noise=deviation / _SQUARE,
        accuracy_noise=deviation / _ACCURACY,
        histogram_noise=deviation / _HISTOGRAM,
    )


def _bin(accuracy: int) -> int:
    return min(accuracy * BINS // ACCURACY_STEPS, BINS - 1)
