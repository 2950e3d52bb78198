"""Is a state better than another, or than guessing? Plain arithmetic: a device has no scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]

_BISECTIONS = 40
LEANING = 5


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a state answered to n questions.

    Attributes:
        right: bool `[n]`.
        probability: What it gave the right answer, float64 `[n]`.
        largest: What it gave the answer that it chose, float64 `[n]`.
    """

    right: Flags
    probability: npt.NDArray[np.float64]
    largest: npt.NDArray[np.float64]

    def of(self, which: Flags) -> Answers:
        """Those to the questions `which`, bool `[n]`."""
        return Answers(self.right[which], self.probability[which], self.largest[which])


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """Two states that answered the same questions.

    The test is the exact sign test on the questions where only one of them was right (McNemar
    1947; Dixon & Mood 1946). With few questions that is coarse, so where it leans one way a finer
    test may confirm it: that of the differences of probability, whose sum over the root of its
    sum of squares is near normal where their signs are a coin's (Efron, JASA 64, 1969). Answers of
    a cross-validation share training examples: there all probabilities below are approximations.

    Attributes:
        num: Questions, n.
        wins: Only the first state was right.
        losses: Only the second was right.
        difference: Accuracy of the first minus that of the second, `(wins - losses) / n`.
        low, high: One-sided bounds of the difference, each at the confidence asked for (Clopper &
            Pearson's bounds of `wins / (wins + losses)`, given how many questions they differ on).
        p_better: Probability of as many wins or more, were both equally good.
        p_worse: Probability of as many losses or more, were both equally good.
        p_surer: Probability of differences that favour the first as much, were their signs a
            coin's; 1 minus it for the second.
    """

    num: int
    wins: int
    losses: int
    difference: float
    low: float
    high: float
    p_better: float
    p_worse: float
    p_surer: float

    @classmethod
    def of(cls, first: Answers, second: Answers, *, confidence: float) -> Self:
        """Compare answers to the same n >= 1 questions."""
        num = len(first.right)
        wins = int(np.sum(first.right & ~second.right))
        losses = int(np.sum(second.right & ~first.right))
        apart = wins + losses
        low = lower_bound(wins, apart, confidence=confidence)
        high = 1 - lower_bound(losses, apart, confidence=confidence)
        return cls(
            num=num,
            wins=wins,
            losses=losses,
            difference=(wins - losses) / num,
            low=(2 * low - 1) * apart / num,
            high=(2 * high - 1) * apart / num,
            p_better=at_least(wins, apart, 0.5),
            p_worse=at_least(losses, apart, 0.5),
            p_surer=sign_flip(first.probability - second.probability),
        )

    def shown_better(self, chance: float) -> bool:
        """Whether the first is better but for a probability of `chance`.

        The sign test says so; or it leans that way (up to 5 times `chance`, and never with fewer
        wins than losses) and the other says so.
        """
        leans = self.p_better <= _leaning(chance)
        return self.p_better <= chance or (leans and self.p_surer <= chance)

    def shown_worse(self, chance: float) -> bool:
        """Whether the first is worse, likewise."""
        leans = self.p_worse <= _leaning(chance)
        return self.p_worse <= chance or (leans and 1 - self.p_surer <= chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessComparison:
    """A state's answers against guessing evenly among its labels: an exact binomial test.

    Attributes:
        num: Questions, n.
        right: How many it got right.
        guess_rate: Share that a guess gets right, 1 / number of labels in use.
        p_better: Probability of as many right or more by guessing.
        p_worse: Probability of as few right or fewer by guessing.
    """

    num: int
    right: int
    guess_rate: float
    p_better: float
    p_worse: float

    @classmethod
    def of(cls, right: Flags, *, guess_rate: float) -> Self:
        """Compare which of n >= 1 questions were answered right, `[n]`, with a guess."""
        num, hits = len(right), int(np.sum(right))
        return cls(
            num=num,
            right=hits,
            guess_rate=guess_rate,
            p_better=at_least(hits, num, guess_rate),
            p_worse=at_least(num - hits, num, 1 - guess_rate),
        )


def at_least(successes: int, trials: int, rate: float) -> float:
    """P(X >= successes) for X ~ Binomial(trials, rate), rate in 0..1."""
    if successes <= 0:
        return 1.0
    if successes > trials or rate <= 0:
        return 0.0
    if rate >= 1:
        return 1.0
    hits = np.arange(successes, trials + 1)
    logs = _log_choose(trials)[successes:] + hits * np.log(rate)
    logs = logs + (trials - hits) * np.log1p(-rate)
    return float(min(1.0, np.exp(logs).sum()))


def sign_flip(differences: npt.NDArray[np.float64]) -> float:
    """Probability of a sum as large as that of `[n]` differences, were each sign a coin's.

    By the normal distribution, but never less than so many coins can give as there are differences
    that matter, `(sum |d|)^2 / sum d^2`: a few large ones prove little, however small the others.
    """
    squares = float((differences**2).sum())
    if squares == 0:
        return 0.5
    normal = 0.5 * math.erfc(float(differences.sum()) / math.sqrt(2 * squares))
    least = float(0.5 ** (float(np.abs(differences).sum()) ** 2 / squares))
    return min(max(normal, least), 1 - least)


def lower_bound(successes: int, trials: int, *, confidence: float) -> float:
    """One-sided lower bound of a rate: Clopper & Pearson, Biometrika 26 (1934)."""
    if successes <= 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if at_least(successes, trials, middle) > 1 - confidence:
            high = middle
        else:
            low = middle
    return low


def _leaning(chance: float) -> float:
    return min(LEANING * chance, 0.5)


@lru_cache(maxsize=64)
def _log_choose(trials: int) -> npt.NDArray[np.float64]:
    """Logarithm of "trials choose k" for k = 0..trials, `[trials + 1]`."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    chosen: npt.NDArray[np.float64] = logs[-1] - logs - logs[::-1]
    return chosen
