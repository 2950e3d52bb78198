"""What a round asks of whom, and with which noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from federated.privacy.mechanism import plan_noise
from federated.rounds.records import RoundTask
from federated.rounds.sampling import fixed_cohort, poisson_cohort, sample_cohort

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sdk.random_words import RandomWords
    from federated.privacy.mechanism import NoisePlan
    from federated.privacy.options import PrivacyOptions
    from federated.rounds.records import RoundOptions, RunState


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivateRounds:
    """What makes rounds private.

    Attributes:
        options: Noise, sampling, budget.
        charge: Called with a round's number before anything of it leaves the server: records what
            it costs where a restart finds it, or raises `BudgetExhaustedError`.
        settle: Called with its number when the round's outcome is kept: no later attempt is free.
        words: Randomness of a round (its number, and what for): the operating system's outside
            tests.
    """

    options: PrivacyOptions
    charge: Callable[[int], None]
    settle: Callable[[int], None]
    words: Callable[[int, str], RandomWords]


def round_task(
    state: RunState,
    client_ids: Sequence[str],
    bundle_digest: str,
    options: RoundOptions,
    privacy: PrivateRounds | None,
) -> RoundTask:
    """What the next round asks, and of whom."""
    asked = math.ceil(options.cohort_size * options.over_selection)
    plan = None if privacy is None else round_noise(state, privacy)
    return RoundTask(
        server_round=state.next_round,
        cohort=_cohort(state, client_ids, asked, options, privacy),
        shared=state.shared,
        bundle_digest=bundle_digest,
        clipping_norm=state.clipping_norm,
        steps=options.steps,
        close_at=options.cohort_size if options.over_selection > 1 else None,
        device_noise=None if plan is None else plan.device,
        arriving_norm=None if plan is None else plan.arriving_norm,
    )


def _cohort(
    state: RunState,
    client_ids: Sequence[str],
    asked: int,
    options: RoundOptions,
    privacy: PrivateRounds | None,
) -> tuple[str, ...]:
    if privacy is None:
        rng = np.random.default_rng([options.seed, state.next_round])
        return sample_cohort(client_ids, asked, rng)
    words = privacy.words(state.next_round, "cohort")
    if privacy.options.tree_rounds and state.next_round % privacy.options.tree_rounds:
        client_ids = sorted(set(client_ids) - state.used)
        if not client_ids:
            return ()
    if privacy.options.sampling == "poisson":
        return poisson_cohort(client_ids, sampling_rate(options, client_ids), words)
    if privacy.options.sampling == "fixed":
        return fixed_cohort(client_ids, asked, words)
    return tuple(sorted(set(client_ids)))


def sampling_rate(options: RoundOptions, client_ids: Sequence[str]) -> float:
    """Chance of each client to be in a Poisson cohort of `options.cohort_size` on average."""
    return min(1.0, options.cohort_size / len(set(client_ids)))


def round_noise(state: RunState, privacy: PrivateRounds) -> NoisePlan:
    """The noise of the next round."""
    size = sum(value.size for value in state.shared.values())
    return plan_noise(privacy.options, state.clipping_norm, size)


def check_noise(options: RoundOptions) -> None:
    """Refuse, of private rounds, options that break what the noise is scaled for.

    Raises:
        InvalidOptionError: The options cannot be had together.
    """
    if options.aggregator != "mean":
        msg = (
            f"noise is scaled to a sum; {options.aggregator} has no bound on one user's influence: "
            "set aggregator to mean"
        )
        raise InvalidOptionError(msg)
    if options.over_selection > 1:
        msg = (
            "over_selection closes a round at a number of replies, so that one user can displace "
            "another, which the noise is not scaled for; set it to 1 in private rounds"
        )
        raise InvalidOptionError(msg)


def check_options(
    options: RoundOptions, privacy: PrivateRounds | None, client_ids: Sequence[str]
) -> None:
    """The same, now that the clients are known.

    Raises:
        InvalidOptionError: The options cannot be had together.
    """
    if privacy is None:
        return
    check_noise(options)
    if privacy.options.min_contributors > len(set(client_ids)):
        msg = f"min_contributors is above the {len(set(client_ids))} clients there are"
        raise InvalidOptionError(msg)
