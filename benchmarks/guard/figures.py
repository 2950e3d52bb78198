"""From outcomes of users to figures: keep rates by true difference, and what users get.

A cell is one user in one scenario. His model's true difference from the base is measured on the
examples of his that were not taught, with true labels, and averaged over the splits of what he
wrote: one split's test set is so small that a model no worse than the base often measures a point
or more under it. Intervals (95 %) are bootstrapped over users.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.guard.simulation import Outcome

    Figures = dict[str, Any]

BINS = {"-30": (-0.35, -0.25), "-10": (-0.125, -0.075), "+10": (0.075, 0.125)}
TAUGHT = ((0, 50), (50, 100), (100, 1000))
BOOTSTRAPS = 1000
POINT = 0.01
SHOWN = 0.05


@dataclass(frozen=True, slots=True)
class Cell:
    """All outcomes of one user in one scenario."""

    poison: float
    outcomes: tuple[Outcome, ...]

    @property
    def user(self) -> int:
        """Who."""
        return self.outcomes[0].user

    @property
    def difference(self) -> float:
        """True difference of the personal model from the base."""
        return float(np.mean([o.personal - o.base for o in self.outcomes]))

    @property
    def gain(self) -> float:
        """What the user gets, minus the base."""
        return float(np.mean([o.served - o.base for o in self.outcomes]))


def by_user(poison: float, outcomes: Sequence[Outcome]) -> list[Cell]:
    """One cell a user."""
    ordered = sorted(outcomes, key=lambda o: o.user)
    return [Cell(poison, tuple(g)) for _, g in itertools.groupby(ordered, lambda o: o.user)]


def with_interval(cells: Sequence[Cell], value: Callable[[Outcome], float]) -> Figures:
    """Mean of a value over all outcomes, and its interval over users."""
    users = sorted({cell.user for cell in cells})
    per_user = [[value(o) for c in cells if c.user == user for o in c.outcomes] for user in users]
    if not per_user:
        return {"models": 0, "users": 0}
    sums, sizes = np.array([sum(v) for v in per_user]), np.array([len(v) for v in per_user])
    draws = np.random.default_rng(0).integers(0, len(users), (BOOTSTRAPS, len(users)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "mean": round(float(sums.sum() / sizes.sum()), 5),
        "low": round(float(low), 5),
        "high": round(float(high), 5),
        "models": int(sizes.sum()),
        "users": len(users),
    }


def kept(outcome: Outcome) -> bool:
    """Whether the guardrail kept the model."""
    return outcome.decision == "keep"


def keep_rates(cells: Sequence[Cell]) -> Figures:
    """How often models of each true difference are kept: of all teachers, and of honest ones."""
    rates: Figures = {}
    for name, (low, high) in BINS.items():
        inside = [cell for cell in cells if low <= cell.difference <= high]
        honest = [cell for cell in inside if cell.poison == 0]
        rates[name] = with_interval(inside, kept)
        rates[f"{name}, honest labels"] = with_interval(honest, kept)
    return rates


def power(cells: Sequence[Cell]) -> Figures:
    """Keep rate of honest models 10 points better, by how many examples were taught."""
    low, high = BINS["+10"]
    inside = [c for c in cells if c.poison == 0 and low <= c.difference <= high]
    return {
        f"{fewest} to {most - 1} examples": with_interval(
            [c for c in inside if fewest <= c.outcomes[0].num_taught < most], kept
        )
        for fewest, most in TAUGHT
    }


def harm(cells: Sequence[Cell]) -> Figures:
    """What users get, minus the base: on average, for the worst, and without a guardrail."""
    gains = np.sort([cell.gain for cell in cells])
    bare = np.array([cell.difference for cell in cells])
    users = [
        float(np.mean([o.served - o.base for c in group for o in c.outcomes]))
        for group in _groups(cells, lambda cell: cell.user)
    ]
    of_kept = [o for cell in cells for o in cell.outcomes if kept(o)]
    return {
        "served minus base": with_interval(cells, lambda o: o.served - o.base),
        "worst decile, mean": round(float(gains[: max(1, len(gains) // 10)].mean()), 5),
        "worst": round(float(gains[0]), 5),
        "more than 1 point under": int(np.sum(gains < -POINT)),
        "of": len(gains),
        "worst user over all of these": round(min(users), 5),
        "users more than 1 point under over all of these": sum(u < -POINT for u in users),
        "kept models": len(of_kept),
        "kept models shown worse": sum(o.p_worse <= SHOWN for o in of_kept),
        "without guardrail": {
            "personal minus base": with_interval(cells, lambda o: o.personal - o.base),
            "worst": round(float(bare.min()), 5),
            "more than 1 point under": int(np.sum(bare < -POINT)),
        },
        "kept": with_interval(cells, kept),
        "memorization gap": with_interval(cells, lambda o: o.gap),
        "suspect share of labels": with_interval(cells, lambda o: o.suspect_share),
    }


def pooled_harm(scenarios: dict[str, list[Cell]]) -> Figures:
    """`harm` over all scenarios of each share of poisoned labels, and its worst scenario."""
    found: Figures = {}
    for poison in sorted({cell.poison for cells in scenarios.values() for cell in cells}):
        those = {n: c for n, c in scenarios.items() if c[0].poison == poison}
        means = {n: with_interval(c, lambda o: o.served - o.base) for n, c in those.items()}
        worst = min(means, key=lambda name: float(means[name]["mean"]))
        found[f"{poison:g} poisoned"] = {
            **harm([cell for cells in those.values() for cell in cells]),
            "worst scenario": {"which": worst, **means[worst]},
        }
    return found


def _groups(cells: Iterable[Cell], key: Callable[[Cell], int]) -> list[list[Cell]]:
    return [list(group) for _, group in itertools.groupby(sorted(cells, key=key), key)]
