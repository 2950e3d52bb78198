"""What private rounds cost: epsilon by Renyi (RDP) and by privacy loss distributions (PLD).

The unit is a user. With Poisson sampling the neighbouring relation is add or remove one user. With
a fixed cohort, or none, taken from a list of users that is public, it is zero-out: the user stays
on the list and contributes nothing; no amplification by sampling is claimed. With local noise it
is any two data sets of one user: its noise is scaled to twice the clipping norm. The noise is
accounted as a Gaussian: on grids this fine a discrete one is at least as private without sampling
(Canonne, Kamath, Steinke 2020, theorem 4); under sampling its difference is far below the digits
shown.
"""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError, MissingExtraError
from federated.privacy.options import ACCOUNTANTS, SAMPLINGS

try:
    from dp_accounting import (
        ComposedDpEvent,
        DpEvent,
        GaussianDpEvent,
        PoissonSampledDpEvent,
        SelfComposedDpEvent,
    )
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant
except ModuleNotFoundError as error:  # pragma: no cover - the extra is in every test environment
    _MSG = f"accounting needs {error.name}: pip install 'edge-sdk[federated]'"
    raise MissingExtraError(_MSG) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

UNIT = "user"
ADD_OR_REMOVE = "add-or-remove-one"
ZERO_OUT = "zero-out"
ANY_DATA = "any-two-data-sets"

_MAX_ROUNDS = 10**7
_MIN_MULTIPLIER, _MAX_MULTIPLIER = 0.05, 1e4
_RELATIVE = 1e-4
_NARROW = 1e-9
_FIRST_STEP = 1.1
_TINY = 1e-300


@dataclass(frozen=True, kw_only=True, slots=True)
class Spend:
    """One mechanism, run several times in the same way.

    Attributes:
        sampling: `poisson`, `fixed` or `none`.
        sampling_rate: Chance of one user to be in a round, in (0, 1]; it counts for `poisson` only.
        noise_multiplier: Noise deviation over sensitivity, 0.05 to 1e4: less has an epsilon in the
            hundreds, and a loss distribution that fits no memory.
        rounds: How often, at least 1.
    """

    sampling: str
    sampling_rate: float
    noise_multiplier: float
    rounds: int

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLINGS:
            msg = f"sampling must be one of {', '.join(SAMPLINGS)}, got {self.sampling!r}"
            raise InvalidOptionError(msg)
        if not 0 < self.sampling_rate <= 1:
            msg = f"sampling_rate must be in (0, 1], got {self.sampling_rate!r}"
            raise InvalidOptionError(msg)
        if not _MIN_MULTIPLIER <= self.noise_multiplier <= _MAX_MULTIPLIER:
            msg = (
                f"noise_multiplier must be in {_MIN_MULTIPLIER:g}..{_MAX_MULTIPLIER:g}, got "
                f"{self.noise_multiplier!r}"
            )
            raise InvalidOptionError(msg)
        if type(self.rounds) is not int or not 1 <= self.rounds <= _MAX_ROUNDS:
            msg = f"rounds must be an integer in 1..{_MAX_ROUNDS}, got {self.rounds!r}"
            raise InvalidOptionError(msg)

    def event(self) -> DpEvent:
        """The spend in the words of dp-accounting."""
        event = GaussianDpEvent(self.noise_multiplier)
        if self.sampling == "poisson" and self.sampling_rate < 1:
            event = PoissonSampledDpEvent(self.sampling_rate, event)
        return SelfComposedDpEvent(event, self.rounds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Epsilon:
    """Epsilon at one delta, by both accountants; each is an upper bound by itself."""

    rdp: float
    pld: float


def relation(spends: Iterable[Spend]) -> str:
    """The neighbouring relation that all of `spends` hold under."""
    unsampled = any(spend.sampling != "poisson" for spend in spends)
    return ZERO_OUT if unsampled else ADD_OR_REMOVE


def zcdp(spends: Iterable[Spend]) -> float:
    """Rho of zero-concentrated privacy, of all spends together; sampling takes nothing off it."""
    return math.fsum(spend.rounds / (2 * spend.noise_multiplier**2) for spend in spends)


def epsilon(spends: Iterable[Spend], delta: float) -> Epsilon:
    """Compose `spends`; 0 for none.

    Raises:
        InvalidOptionError: `delta` is not in (0, 1).
    """
    spends = list(spends)
    return Epsilon(rdp=epsilon_by("rdp", spends, delta), pld=epsilon_by("pld", spends, delta))


def epsilon_by(accountant: str, spends: Iterable[Spend], delta: float) -> float:
    """Like `epsilon`, by one accountant: `pld` or `rdp`."""
    if not 0 < delta < 1:
        msg = f"delta must be in (0, 1), got {delta!r}"
        raise InvalidOptionError(msg)
    if accountant not in ACCOUNTANTS:
        msg = f"accountant must be one of {', '.join(ACCOUNTANTS)}, got {accountant!r}"
        raise InvalidOptionError(msg)
    events = [spend.event() for spend in spends]
    if not events:
        return 0.0
    with _without_notes():
        ledger = PLDAccountant() if accountant == "pld" else RdpAccountant()
        ledger.compose(ComposedDpEvent(events))
        return float(ledger.get_epsilon(delta))


def noise_multiplier_for(
    accountant: str,
    target: float,
    delta: float,
    *,
    sampling: str,
    sampling_rate: float,
    rounds: int,
) -> float:
    """Least noise multiplier with which `rounds` cost at most `target`, and 2e-4 less at most.

    Raises:
        InvalidOptionError: `target` is not finite and positive, or no noise is enough.
    """
    if not 0 < target < math.inf:
        msg = f"epsilon must be finite and > 0, got {target!r}"
        raise InvalidOptionError(msg)

    def cost(multiplier: float, by: str) -> float:
        spend = Spend(
            sampling=sampling,
            sampling_rate=sampling_rate,
            noise_multiplier=multiplier,
            rounds=rounds,
        )
        return epsilon_by(by, [spend], delta)

    by_rdp = _least(lambda z: cost(z, "rdp"), 1.0, target)
    if accountant == "rdp":
        return by_rdp
    return _least(lambda z: cost(z, accountant), by_rdp, target)


def _least(cost: Callable[[float], float], guess: float, target: float) -> float:
    """A z with `cost(z)` at most `target` and within 2e-4 of it; `cost` falls.

    False position with the Illinois rule on logarithms, where epsilon over noise is nearly a line:
    each value of `cost` takes up to a second. It aims at the middle of what is accepted.
    """
    aim = target * (1 - _RELATIVE)
    (high, least), (low, most) = _bracket(cost, guess, target)
    above, below = math.log(most / aim), math.log(max(least, _TINY) / aim)
    while high - low > _NARROW * high:
        share = above / (above - min(below, 0.0))
        middle = low * math.pow(high / low, share)
        value = cost(middle)
        if target * (1 - 2 * _RELATIVE) <= value <= target:
            return middle
        if value > target:
            low, above, below = middle, math.log(value / aim), below / 2
        else:
            high, below, above = middle, math.log(max(value, _TINY) / aim), above / 2
    return high


def _bracket(
    cost: Callable[[float], float], guess: float, target: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Two points around the target, the higher z first, each with its cost."""
    point = (guess, cost(guess))
    factor = _FIRST_STEP
    while True:
        upward = point[1] > target
        z = point[0] * factor if upward else point[0] / factor
        if not _MIN_MULTIPLIER <= z <= _MAX_MULTIPLIER:
            msg = f"no noise multiplier near {z:g} gives epsilon {target:g}"
            raise InvalidOptionError(msg)
        other = (z, cost(z))
        if (other[1] > target) != upward:
            return (other, point) if upward else (point, other)
        point, factor = other, factor * _FIRST_STEP


@contextmanager
def _without_notes() -> Iterator[None]:
    """Silence notes on Renyi orders that did not converge: they are left out, which is sound."""
    logger = logging.getLogger("absl")

    def drop(record: logging.LogRecord) -> bool:
        return "failed to converge" not in record.getMessage()

    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)
