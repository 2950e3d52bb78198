"""Audit of private rounds in one run.

Steinke, Nasr, Jagielski, "Privacy Auditing with One (1) Training Run", NeurIPS 2023. Each of many
canaries is a user whose update is the whole clipping norm in a coordinate of its own; a fair coin
decides whether it is in the population. From the released model the auditor guesses for the surest
ones whether they were, and how many guesses are right bounds epsilon from below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom

from edge_sdk.update import ModelUpdate
from federated.privacy.accounting import Spend, epsilon_by
from federated.round_core import PrivateRounds, Reply, RoundOptions, RoundTask, run_rounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.privacy.options import PrivacyOptions

_DIGEST = "0" * 64
_NORM = 1.0
_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """What is audited.

    Attributes:
        canaries: Users whose membership a coin decides.
        honest: Users with dense updates, always there.
        guesses: How many memberships are guessed, fixed beforehand: half in, half out.
        rounds: Releases.
        sampling_rate: Of Poisson cohorts; 1 asks everybody.
    """

    canaries: int = 1000
    honest: int = 50
    guesses: int = 200
    rounds: int = 10
    sampling_rate: float = 1.0


def p_value(plan: AuditPlan, correct: int, epsilon: float, delta: float) -> float:
    """Chance that an (epsilon, delta)-private run lets so many guesses be right (theorem 5.2)."""
    share = 1 / (1 + math.exp(-epsilon))
    below = binom.pmf(np.arange(correct - 1, -1, -1), plan.guesses, share)
    alpha = float(np.max(np.cumsum(below) / np.arange(1, correct + 1), initial=0.0))
    tail = float(binom.sf(correct - 1, plan.guesses, share))
    return min(1.0, tail + 2 * plan.canaries * delta * alpha)


def lower_bound(plan: AuditPlan, correct: int, delta: float) -> float:
    """Largest epsilon that is refuted at 95 % confidence; 0 if none is."""
    low, high = 0.0, 20.0
    if p_value(plan, correct, low, delta) > 1 - _CONFIDENCE:
        return 0.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        if p_value(plan, correct, middle, delta) > 1 - _CONFIDENCE:
            high = middle
        else:
            low = middle
    return low


def audit(
    plan: AuditPlan, privacy: PrivacyOptions, private: PrivateRounds | None, seed: int
) -> dict[str, float]:
    """Run the rounds through the round core and guess.

    Args:
        plan: What is audited.
        privacy: What is claimed.
        private: The noise; None runs the same rounds without it.
        seed: Of coins and honest updates.

    Returns:
        The claimed epsilon, the lower bound, and the share of right guesses.
    """
    rng = np.random.default_rng(seed)
    inside = rng.random(plan.canaries) < 0.5
    names = [f"canary-{i:05d}" for i in np.flatnonzero(inside)]
    names += [f"honest-{i:05d}" for i in range(plan.honest)]

    def update(client: str) -> NDArray[np.float32]:
        number = int(client[-5:])
        values = np.zeros(plan.canaries, np.float32)
        if client.startswith("canary"):
            values[number] = _NORM
        else:
            dense = np.random.default_rng([seed, number]).normal(size=plan.canaries)
            values[:] = dense * (0.999 * _NORM / np.linalg.norm(dense))
        return values

    def collect(task: RoundTask) -> list[Reply]:
        return [
            Reply(client_id=client, update=ModelUpdate(_DIGEST, {"w": update(client)}))
            for client in task.cohort
        ]

    options = RoundOptions(
        rounds=plan.rounds,
        cohort_size=max(1, round(plan.sampling_rate * len(names))),
        clipping_norm=_NORM,
    )
    start = {"w": np.zeros(plan.canaries, np.float32)}
    result = run_rounds(start, names, _DIGEST, options, collect, privacy=private)
    order = np.argsort(result.shared["w"])
    half = plan.guesses // 2
    correct = int(inside[order[-half:]].sum() + (~inside[order[:half]]).sum())
    spend = Spend(
        sampling=privacy.sampling,
        sampling_rate=plan.sampling_rate,
        noise_multiplier=privacy.noise_multiplier,
        rounds=plan.rounds,
    )
    return {
        "claimed_epsilon": epsilon_by("pld", [spend], privacy.delta),
        "lower_bound": lower_bound(plan, correct, privacy.delta),
        "right_guesses": correct / plan.guesses,
    }
