"""PrivacyReport: what a bundle may claim about the people whose devices it learned from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from federated.privacy.accounting import ANY_DATA, UNIT, ZERO_OUT, epsilon, relation, zcdp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sdk.manifest import Json
    from federated.privacy.accounting import Spend
    from federated.privacy.options import PrivacyOptions

_PRECISION = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyReport:
    """A guarantee and all that it rests on.

    Attributes:
        epsilon: By the accountant that the budget is held to, rounded up.
        epsilon_rdp: By Renyi accounting.
        epsilon_pld: By privacy loss distributions.
        delta: At which these hold.
        rho: Of zero-concentrated privacy, without amplification.
        unit: Whose data is protected: a `user`, with all their examples.
        relation: What neighbouring populations differ in.
        sampling: How cohorts were drawn.
        sampling_rate: Chance of one user to be in a round; 1 where no amplification is claimed.
        noise_multiplier: Noise deviation over sensitivity, of this run.
        noise: Who added it.
        rounds: Releases that were accounted for, over all runs of this population; a tree is one.
        budget: The epsilon that is never exceeded.
        assumptions: What the guarantee rests on, for people.
    """

    epsilon: float
    epsilon_rdp: float
    epsilon_pld: float
    delta: float
    rho: float
    unit: str
    relation: str
    sampling: str
    sampling_rate: float
    noise_multiplier: float
    noise: str
    rounds: int
    budget: float
    assumptions: tuple[str, ...]

    def as_json(self) -> dict[str, Json]:
        """As it stands in a bundle's manifest."""
        return {**asdict(self), "assumptions": list(self.assumptions)}

    def for_people(self) -> str:
        """One paragraph for a model card."""
        return (
            f"Differential privacy: epsilon {self.epsilon:g} at delta {self.delta:g} (rho "
            f"{self.rho:g}; RDP {self.epsilon_rdp:g}, PLD {self.epsilon_pld:g}), unit: one "
            f"{self.unit}, neighbours: {self.relation}, sampling: {self.sampling} at rate "
            f"{self.sampling_rate:g}, {self.noise} noise of multiplier {self.noise_multiplier:g}, "
            f"{self.rounds} rounds. It holds if: {'; '.join(self.assumptions)}."
        )


def privacy_report(
    spends: Sequence[Spend],
    options: PrivacyOptions,
    sampling_rate: float,
    *,
    seeded: bool,
    after_others: bool = False,
) -> PrivacyReport:
    """Sum up what the ledger holds.

    Args:
        spends: All that was spent on this population.
        options: Of the run that ends here.
        sampling_rate: Of this run's cohorts.
        seeded: Whether noise came from a seed, which voids the guarantee; the report says so.
        after_others: Whether other runs are in `spends`, which rest on assumptions of their own.
    """
    costs = epsilon(spends, options.delta)
    amplified = options.sampling == "poisson"
    return PrivacyReport(
        epsilon=_up(getattr(costs, options.accountant)),
        epsilon_rdp=_up(costs.rdp),
        epsilon_pld=_up(costs.pld),
        delta=options.delta,
        rho=_up(zcdp(spends)),
        unit=UNIT,
        relation=_relation(spends, options, after_others=after_others),
        sampling=options.sampling,
        sampling_rate=sampling_rate if amplified else 1.0,
        noise_multiplier=options.noise_multiplier,
        noise=options.noise,
        rounds=sum(spend.rounds for spend in spends),
        budget=options.epsilon,
        assumptions=_assumptions(options, seeded=seeded, after_others=after_others),
    )


def _relation(spends: Sequence[Spend], options: PrivacyOptions, *, after_others: bool) -> str:
    """What all of `spends` hold under; that local noise bears more is lost beside other runs."""
    if options.noise == "local":
        return ZERO_OUT if after_others else ANY_DATA
    return relation(spends)


def _assumptions(options: PrivacyOptions, *, seeded: bool, after_others: bool) -> tuple[str, ...]:
    said = ["each client id is one user", "the list of users that may be asked is public"]
    if options.noise == "local":
        said.append(
            "each device clips and adds its noise before anything leaves it; nobody else is trusted"
        )
    elif options.noise != "distributed":
        said.append("the server adds the noise and keeps no update")
    else:
        said.append(
            f"of every sum at least {options.min_contributors} contributors are honest, and the "
            "server sees sums only"
        )
    if options.tree_rounds:
        said.append(
            f"a user is used at most once in {options.tree_rounds} rounds, which the server sees to"
        )
    if options.sampling == "poisson":
        said.append("nobody else learns who was asked in a round")
    if after_others:
        said.append("earlier runs on these users, which are counted too, kept what they assumed")
    if seeded:
        said.append("NOT MET: the noise came from a seed, so there is no guarantee")
    return tuple(said)


def _up(value: float) -> float:
    """Rounded up to four digits after the point: never less than what was spent."""
    return math.ceil(value * _PRECISION) / _PRECISION
