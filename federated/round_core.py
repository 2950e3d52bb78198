"""Pure federated rounds: sample, refuse what is wrong, clip, sum, noise, take a server step.

Numpy only: no files, clocks, network or global randomness. The simulator and the Flower server both
drive `run_rounds`. Without noise, updates are summed in float64 in the order of their client ids;
with noise they are summed as integers: either way the same updates give the same numbers whatever
order they arrive in. The parts are in `federated.rounds` and `federated.privacy`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from edge_sdk.grid import unflatten
from federated.privacy.mechanism import DecodedSum, SecureSum
from federated.rounds.admission import Admission, check_update, is_usable
from federated.rounds.aggregation import aggregate
from federated.rounds.planning import PrivateRounds, check_options, round_noise, round_task
from federated.rounds.records import (
    Refusal,
    Reply,
    RoundOptions,
    RoundReport,
    RoundTask,
    RunResult,
    RunState,
)
from federated.rounds.releasing import Released, release_sum, release_updates
from federated.rounds.reporting import admitted_report, sum_report, too_few
from federated.rounds.sampling import sample_cohort
from federated.rounds.server_optimizer import server_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from federated.rounds.records import Tensors

    Outcome: TypeAlias = Iterable[Reply] | SecureSum | DecodedSum
    Collect: TypeAlias = Callable[[RoundTask], Outcome]

__all__ = [
    "DecodedSum",
    "PrivateRounds",
    "Refusal",
    "Reply",
    "RoundOptions",
    "RoundReport",
    "RoundTask",
    "RunResult",
    "RunState",
    "SecureSum",
    "apply_round",
    "check_update",
    "is_usable",
    "run_rounds",
    "sample_cohort",
    "start_state",
]


def start_state(shared: Tensors, options: RoundOptions) -> RunState:
    """The state before the first round."""
    return RunState(
        next_round=0,
        shared={name: np.array(value, np.float32) for name, value in sorted(shared.items())},
        optimizer={},
        clipping_norm=options.clipping_norm,
        reports=(),
    )


def run_rounds(
    shared: Tensors,
    client_ids: Sequence[str],
    bundle_digest: str,
    options: RoundOptions,
    collect: Collect,
    on_round: Callable[[RoundReport, Tensors], None] | None = None,
    *,
    privacy: PrivateRounds | None = None,
    start: RunState | None = None,
    keep: Callable[[RunState], None] | None = None,
) -> RunResult:
    """Run all rounds; `collect` is the only thing that differs between drivers.

    Args:
        shared: The tensors to average, float32, as the bundle starts them.
        client_ids: The clients that may be sampled.
        bundle_digest: The bundle that every update must rest on.
        options: Rounds, cohort, step, bound, seed.
        collect: Sends a task to its cohort and returns the replies in time, in the order they came
            (a private round keeps none, so they may be made one by one); of a masked round, or one
            with distributed noise, the sum.
        on_round: Called after each round with its report and the new shared tensors.
        privacy: Makes the rounds private; None adds no noise.
        start: Go on from here, in place of the start.
        keep: Called with the state after each round, before anything of it is used: a driver writes
            its checkpoint here.

    Returns:
        The final shared tensors and the reports. `shared` itself is not changed.

    Raises:
        BudgetExhaustedError: The budget does not allow the next round; what was kept stands.
        DivergedError: A server step left the finite numbers.
        InvalidOptionError: The options cannot be had together.
    """
    check_options(options, privacy, client_ids)
    state = start if start is not None else start_state(shared, options)
    while state.next_round < options.rounds:
        task = round_task(state, client_ids, bundle_digest, options, privacy)
        if privacy is not None:
            privacy.charge(state.next_round)
        state = next_state(state, task, collect(task), options, privacy, len(set(client_ids)))
        if keep is not None:
            keep(state)
        if privacy is not None:
            privacy.settle(task.server_round)
        if on_round is not None:
            on_round(state.reports[-1], state.shared)
    return RunResult(shared=state.shared, reports=state.reports)


def apply_round(
    task: RoundTask, replies: Sequence[Reply], *, server_lr: float
) -> tuple[dict[str, NDArray[np.float32]], RoundReport]:
    """Take one step `w += server_lr * mean(delta)` over the updates that can be used.

    Every accepted client weighs the same, however many examples it has. Each update is clipped
    again here: the bound does not rest on what a client claims. A client counts once a round.

    Args:
        task: The round, with the tensors it starts from.
        replies: What came back, in any order; of a client's several updates, the first counts.
        server_lr: Length of the step.

    Returns:
        The new shared tensors, float32 (the old values if no update is usable), and the report.

    Raises:
        DivergedError: The new tensors are not finite.
    """
    options = RoundOptions(server_lr=server_lr, clipping_norm=task.clipping_norm)
    state = replace(start_state(task.shared, options), next_round=task.server_round)
    after = next_state(state, task, replies, options, None, len(task.cohort))
    return after.shared, after.reports[-1]


def next_state(
    state: RunState,
    task: RoundTask,
    outcome: Outcome,
    options: RoundOptions,
    privacy: PrivateRounds | None,
    num_clients: int,
) -> RunState:
    """What a round leaves behind: `check -> clip -> sum -> noise -> divide -> server step`.

    Without noise the sum is divided by the number of updates. With noise it is divided by a number
    that is fixed before the round, or one user could change every other's share.

    Args:
        state: Before the round.
        task: What the cohort was asked.
        outcome: What came back.
        options: As of the run.
        privacy: As of the run.
        num_clients: Clients that could be sampled.
    """
    if privacy is None:
        if isinstance(outcome, SecureSum):
            msg = "a sum on the grid of a round with noise needs a round with noise"
            raise InvalidOptionError(msg)
        if isinstance(outcome, DecodedSum):
            return _summed_round(state, task, outcome, options)
        return _plain_round(state, task, outcome, options)
    if isinstance(outcome, DecodedSum):
        msg = "rounds with noise need sums on the grid of their noise"
        raise InvalidOptionError(msg)
    return _private_round(state, task, outcome, options, privacy, num_clients)


def _plain_round(
    state: RunState, task: RoundTask, replies: Iterable[Reply], options: RoundOptions
) -> RunState:
    admission = Admission(task)
    updates = dict(sorted(admission.usable(replies), key=itemgetter(0)))
    step_norm = 0.0
    shared, moments = state.shared, state.optimizer
    if updates:
        direction = aggregate(updates, shared, options)
        shared, moments, step_norm = server_step(shared, direction, moments, options)
    norms = admission.norms.values()
    report = replace(
        admitted_report(task, admission),
        mean_update_norm=math.fsum(norms) / len(norms) if norms else 0.0,
        step_norm=step_norm,
        denominator=float(len(updates)),
    )
    return _after(state, shared, moments, task.clipping_norm, report)


def _summed_round(
    state: RunState, task: RoundTask, outcome: DecodedSum, options: RoundOptions
) -> RunState:
    """A round of which the server knows the sum only; without any sum nothing changes."""
    report = sum_report(task, outcome)
    shared, moments = state.shared, state.optimizer
    if outcome.num_contributors:
        shapes = {name: value.shape for name, value in shared.items()}
        direction = unflatten(outcome.total / outcome.num_contributors, shapes)
        shared, moments, step_norm = server_step(shared, direction, moments, options)
        denominator = float(outcome.num_contributors)
        report = replace(report, step_norm=step_norm, denominator=denominator)
    return _after(state, shared, moments, task.clipping_norm, report)


def _private_round(
    state: RunState,
    task: RoundTask,
    outcome: Iterable[Reply] | SecureSum,
    options: RoundOptions,
    privacy: PrivateRounds,
    num_clients: int,
) -> RunState:
    plan = round_noise(state, privacy)
    denominator = float(min(options.cohort_size, num_clients))
    if isinstance(outcome, SecureSum):
        report = sum_report(task, outcome)
        if report.num_accepted < max(plan.min_contributors, 1):
            # who is there says nothing of their data, so to refuse the round costs nothing
            bound = task.clipping_norm
            return _after(state, state.shared, state.optimizer, bound, too_few(report))
        released = Released(total=release_sum(task, outcome, plan, privacy), report=report)
    else:
        released = release_updates(state, task, outcome, plan, privacy, denominator)
    state = replace(state, **released.tree)
    report = released.report
    shapes = {name: value.shape for name, value in state.shared.items()}
    direction = unflatten(released.total / denominator, shapes)
    shared, moments, step_norm = server_step(state.shared, direction, state.optimizer, options)
    report = replace(
        report,
        mean_update_norm=None,
        step_norm=step_norm,
        clipping_norm=task.clipping_norm,
        noise_deviation=plan.deviation(report.num_accepted) * math.sqrt(released.num_noises),
        denominator=denominator,
    )
    bound = task.clipping_norm if released.next_bound is None else released.next_bound
    return _after(state, shared, moments, bound, report)


def _after(
    state: RunState,
    shared: dict[str, NDArray[np.float32]],
    moments: dict[str, NDArray[np.float64]],
    clipping_norm: float,
    report: RoundReport,
) -> RunState:
    return replace(
        state,
        next_round=state.next_round + 1,
        shared=shared,
        optimizer=moments,
        clipping_norm=clipping_norm,
        reports=(*state.reports, report),
    )
