"""From released counts to a verdict: is a candidate promoted, and how well are people served?

A test of non-inferiority. With gain g of each user, the sum of (g + margin) must be above zero by
more than its noise and the draw of the devices explain: `G + margin N >= z * deviation`. So a
candidate is promoted only where it is shown not to be worse; where noise or too few devices leave
that open, the current bundle stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from federated.evaluation.counts import BINS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from federated.evaluation.counts import Released
    from federated.evaluation.options import EvaluationOptions

_WORST = 0.1


class Reason(StrEnum):
    """Why a candidate was promoted, or not."""

    NOT_WORSE = "not_worse"
    WORSE = "worse"
    NOT_SHOWN = "not_shown"
    TOO_FEW = "too_few"


_WORDS = {
    Reason.NOT_WORSE: "it is shown not to be worse than the current bundle by more than the margin",
    Reason.WORSE: "it is worse than the current bundle by more than the margin",
    Reason.NOT_SHOWN: "noise and the draw of devices leave open whether it is worse by more than "
    "the margin: ask more devices, or allow a larger margin",
    Reason.TOO_FEW: "too few devices judged it: ask more, or lower min_devices",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """Accuracy of the users who judged, after adapting to their own examples; estimates, in 0..1.

    Attributes:
        mean: Over users.
        worst_decile: Mean over the tenth who are served worst, from a histogram: half a bin (2.5
            points) is its resolution.
    """

    mean: float
    worst_decile: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What became of a candidate, and why. All figures are released ones, noised in private runs.

    Attributes:
        promoted: Whether it takes the current bundle's place.
        reason: Why, or why not.
        devices: Users who judged.
        gain: Mean gain in accuracy, in -1..1.
        gain_low: Lower end of its two-sided interval; each side at `confidence`.
        gain_high: Upper end.
        margin: As asked for.
        confidence: As asked for.
        current: How users are served by the current bundle.
        candidate: And by the candidate.
        noise_deviation: Standard deviation of the noise on the sum of gains, in users.
    """

    promoted: bool
    reason: Reason
    devices: float
    gain: float
    gain_low: float
    gain_high: float
    margin: float
    confidence: float
    current: Served
    candidate: Served
    noise_deviation: float

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, from a run log."""
        typed = {
            "reason": Reason(entry["reason"]),
            "current": Served(**entry["current"]),
            "candidate": Served(**entry["candidate"]),
        }
        return cls(**{**entry, **typed})

    def for_people(self) -> str:
        """One paragraph."""
        return (
            f"The candidate was {'promoted' if self.promoted else 'not promoted'}: "
            f"{_WORDS[self.reason]}. Over {self.devices:.0f} devices the mean gain in accuracy is "
            f"{100 * self.gain:+.1f} points ({100 * self.gain_low:+.1f} to "
            f"{100 * self.gain_high:+.1f}, each side at {100 * self.confidence:g} %), and at "
            f"least {-100 * self.margin:+.1f} was asked for. The worst-served tenth: "
            f"{100 * self.current.worst_decile:.0f} % before, "
            f"{100 * self.candidate.worst_decile:.0f} % with the candidate."
        )


def decide(released: Released, options: EvaluationOptions) -> Verdict:
    """Judge the released counts."""
    count = max(released.count, 1.0)
    z = NormalDist().inv_cdf(options.confidence)
    # from above: with noise, the squares of the gains may come out too small
    squares = max(released.square, 0.0) + z * released.square_noise
    spread = max(squares - released.gain**2 / count, 0.0) * count / max(count - 1, 1.0)
    deviation = math.sqrt(
        released.gain_noise**2 + (options.margin * released.count_noise) ** 2 + spread
    )
    excess = released.gain + options.margin * released.count
    enough = released.count - z * released.count_noise >= options.min_devices
    if not enough:
        reason = Reason.TOO_FEW
    elif excess >= z * deviation:
        reason = Reason.NOT_WORSE
    else:
        reason = Reason.WORSE if excess < -z * deviation else Reason.NOT_SHOWN
    mean = released.accuracy / count
    return Verdict(
        promoted=reason == Reason.NOT_WORSE,
        reason=reason,
        devices=max(released.count, 0.0),
        gain=_within(released.gain / count, -1.0),
        gain_low=_within((released.gain - z * deviation) / count, -1.0),
        gain_high=_within((released.gain + z * deviation) / count, -1.0),
        margin=options.margin,
        confidence=options.confidence,
        current=Served(
            mean=_within(mean - released.gain / count, 0.0),
            worst_decile=worst_decile(released.by_current),
        ),
        candidate=Served(mean=_within(mean, 0.0), worst_decile=worst_decile(released.by_candidate)),
        noise_deviation=released.gain_noise,
    )


def worst_decile(histogram: NDArray[np.float64]) -> float:
    """Mean accuracy of the worst-served tenth, from a noised histogram `[BINS]` over 0..1.

    Noise is not clipped bin by bin, which would put users into bins where nobody is: the running
    sum is made to rise instead, which leaves its noise unbiased where there are users.
    """
    running = np.clip(np.maximum.accumulate(np.cumsum(histogram)), 0.0, None)
    wanted = _WORST * running[-1]
    if wanted <= 0:
        return 0.0
    taken = np.diff(np.minimum(running, wanted), prepend=0.0)
    middles = (np.arange(BINS) + 0.5) / BINS
    return float(taken @ middles / wanted)


def _within(value: float, least: float) -> float:
    return min(max(value, least), 1.0)
