"""Where a private round's sum is released: with the server's noise, or that of its devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sdk.errors import InvalidOptionError
from edge_sdk.grid import flatten
from federated.privacy.mechanism import (
    next_clipping_norm,
    release,
    release_in_tree,
    release_noised,
    sum_on_grid,
)
from federated.privacy.tree import noise_count
from federated.rounds.admission import Admission
from federated.rounds.reporting import admitted_report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from federated.privacy.mechanism import NoisePlan, SecureSum
    from federated.rounds.planning import PrivateRounds
    from federated.rounds.records import Reply, RoundReport, RoundTask, RunState


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """A noised sum, and what goes with it.

    Attributes:
        total: In the updates' units, float64 `[size]`.
        report: What happened to the replies.
        num_noises: Of that deviation, in the sum.
        next_bound: The clipping norm of the next round; None leaves it.
        tree: Fields of the run's state that tree noise moves.
    """

    total: NDArray[np.float64]
    report: RoundReport
    num_noises: int = 1
    next_bound: float | None = None
    tree: dict[str, Any] = field(default_factory=dict)


def release_sum(
    task: RoundTask, outcome: SecureSum, plan: NoisePlan, privacy: PrivateRounds
) -> NDArray[np.float64]:
    """The sum of a masked round: noised by its devices, or here."""
    if plan.device is not None:
        return release_noised(outcome, plan)
    return release(outcome.total, plan, privacy.words(task.server_round, "noise"))


def release_updates(
    state: RunState,
    task: RoundTask,
    replies: Iterable[Reply],
    plan: NoisePlan,
    privacy: PrivateRounds,
    denominator: float,
) -> Released:
    """The noised sum of single updates.

    Raises:
        InvalidOptionError: The round is one of distributed noise: the server must not see updates.
    """
    if plan.device is not None and not plan.local:
        msg = "rounds with distributed noise need the sum, not single updates"
        raise InvalidOptionError(msg)
    admission = Admission(task)
    if plan.local:  # each update has its noise already
        total = np.zeros(plan.grid.size)
        for _, delta in sorted(admission.usable(replies), key=itemgetter(0)):
            total += flatten(delta)
        return Released(total=total, report=admitted_report(task, admission))
    exact = sum_on_grid((delta for _, delta in admission.usable(replies)), plan.grid)
    report = admitted_report(task, admission)
    words = privacy.words(task.server_round, "noise")
    if privacy.options.tree_rounds:
        leaf = task.server_round % privacy.options.tree_rounds + 1
        nodes, used = ({}, frozenset[str]()) if leaf == 1 else (state.tree, state.used)
        total, nodes = release_in_tree(exact, plan, nodes, leaf, words)
        tree = {"tree": nodes, "used": used | set(admission.norms)}
        return Released(total=total, report=report, num_noises=noise_count(leaf), tree=tree)
    total, bound = release(exact, plan, words), task.clipping_norm
    if privacy.options.target_quantile:
        words = privacy.words(task.server_round, "quantile")
        norms = admission.norms.values()
        bound = next_clipping_norm(norms, bound, privacy.options, denominator, words)
    return Released(total=total, report=report, next_bound=bound)
