"""Pure federated rounds: sample a cohort, refuse what is wrong, clip, average, take a server step.

Numpy only: no files, clocks, network or global randomness. The simulator and the Flower server both
drive `run_rounds`, and updates are summed in float64 in the order of their client ids, so the
same updates give the same numbers whatever order they arrive in.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import DivergedError, InvalidOptionError
from edge_sdk.update import clip_to_norm, joint_norm
from federated.robust import AGGREGATORS, aggregate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from edge_sdk.update import ModelUpdate

    Tensors: TypeAlias = Mapping[str, NDArray[np.float32]]
    Collect: TypeAlias = Callable[["RoundTask"], Sequence["Reply"]]

# A device clips in float32, so an honest update may be this much (relative) above the bound.
_CLIP_SLACK = 1e-5


class Refusal(StrEnum):
    """Why the server did not use a reply."""

    MALFORMED = "malformed"
    NOT_SAMPLED = "not_sampled"
    DUPLICATE = "duplicate"
    WRONG_BUNDLE = "wrong_bundle"
    WRONG_NAMES = "wrong_names"
    WRONG_SHAPE = "wrong_shape"
    WRONG_DTYPE = "wrong_dtype"
    NON_FINITE = "non_finite"


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundOptions:
    """How rounds are run.

    Attributes:
        rounds: Server iterations, at least 1.
        cohort_size: Clients sampled for each round, at least 1; all of them if there are fewer.
        server_lr: Length of the server's step, finite and positive; 1 moves to the mean.
        clipping_norm: L2 bound on one client's whole update, finite and positive.
        seed: Seed of the cohort sampling, at least 0.
        steps: Inner steps on the device, at least 1; None takes the bundle's own number.
        aggregator: What stands for a round's updates: one of `federated.robust.AGGREGATORS`.
        trim_share: Of "trimmed_mean": the share of updates left out at each end, in [0, 0.5).
    """

    rounds: int = 5
    cohort_size: int = 10
    server_lr: float = 1.0
    clipping_norm: float = 10.0
    seed: int = 0
    steps: int | None = None
    aggregator: str = "mean"
    trim_share: float = 0.1

    def __post_init__(self) -> None:
        for name, value, least in (
            ("rounds", self.rounds, 1),
            ("cohort_size", self.cohort_size, 1),
            ("seed", self.seed, 0),
            ("steps", 1 if self.steps is None else self.steps, 1),
        ):
            if type(value) is not int or value < least:
                msg = f"{name} must be an integer >= {least}, got {value!r}"
                raise InvalidOptionError(msg)
        for name, rate in (("server_lr", self.server_lr), ("clipping_norm", self.clipping_norm)):
            if not (math.isfinite(rate) and rate > 0):
                msg = f"{name} must be finite and > 0, got {rate!r}"
                raise InvalidOptionError(msg)
        if self.aggregator not in AGGREGATORS:
            msg = f"aggregator must be one of {', '.join(AGGREGATORS)}, got {self.aggregator!r}"
            raise InvalidOptionError(msg)
        if not 0 <= self.trim_share < 0.5:
            msg = f"trim_share must be in [0, 0.5), got {self.trim_share!r}"
            raise InvalidOptionError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTask:
    """What one round asks of its cohort.

    Attributes:
        server_round: Number of the round, from 0.
        cohort: Ids of the sampled clients, ascending.
        shared: The tensors that are averaged, as they are before this round, float32.
        bundle_digest: The bundle that all clients of the run must hold.
        clipping_norm: L2 bound that a client applies to its whole update.
        steps: Inner steps, or None for the bundle's own number.
    """

    server_round: int
    cohort: tuple[str, ...]
    shared: Tensors
    bundle_digest: str
    clipping_norm: float
    steps: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came back from one client: an update, or the code of what went wrong there.

    Attributes:
        client_id: Who replied, as the driver knows it (never as the reply claims it).
        update: The update, or None.
        failure: Code of the error the client reports, or `Refusal.MALFORMED`; None with an update.
    """

    client_id: str
    update: ModelUpdate | None = None
    failure: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundReport:
    """What happened in one round.

    Attributes:
        server_round: Number of the round, from 0.
        num_sampled: Clients in the cohort.
        num_accepted: Updates in the mean; with 0 the shared state is unchanged.
        num_missing: Sampled clients of which no reply was there when the round closed.
        num_clipped: Accepted updates that the server had to clip.
        refused: Replies not used, by `Refusal`.
        failed: Clients that reported an error, by its code.
        mean_update_norm: Mean L2 norm of the accepted updates, after clipping; 0 if there is none.
        step_norm: L2 norm of the server's step.
    """

    server_round: int
    num_sampled: int
    num_accepted: int
    num_missing: int
    num_clipped: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    mean_update_norm: float = 0.0
    step_norm: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """The shared tensors after the last round, and one report a round."""

    shared: dict[str, NDArray[np.float32]]
    reports: tuple[RoundReport, ...]


def sample_cohort(
    client_ids: Sequence[str], cohort_size: int, rng: np.random.Generator
) -> tuple[str, ...]:
    """Draw `cohort_size` different clients, or all if there are fewer; ids ascending.

    The draw depends on the set of ids and on `rng`, not on the order of `client_ids`.

    Raises:
        InvalidOptionError: There is no client.
    """
    ids = sorted(set(client_ids))
    if not ids:
        msg = "there is no client to sample; add at least one"
        raise InvalidOptionError(msg)
    drawn = rng.choice(len(ids), size=min(cohort_size, len(ids)), replace=False)
    return tuple(ids[i] for i in sorted(drawn))


def check_update(update: ModelUpdate, shared: Tensors, bundle_digest: str) -> Refusal | None:
    """Say why `update` cannot be used on `shared`, or None if it can."""
    if update.bundle_digest != bundle_digest:
        return Refusal.WRONG_BUNDLE
    if set(update.delta) != set(shared):
        return Refusal.WRONG_NAMES
    for name, reference in shared.items():
        delta = update.delta[name]
        if getattr(delta, "dtype", None) != np.float32:
            return Refusal.WRONG_DTYPE
        if delta.shape != reference.shape:
            return Refusal.WRONG_SHAPE
        if not np.isfinite(delta).all():
            return Refusal.NON_FINITE
    return None


def apply_round(
    task: RoundTask,
    replies: Sequence[Reply],
    *,
    server_lr: float,
    aggregator: str = "mean",
    trim_share: float = 0.1,
) -> tuple[dict[str, NDArray[np.float32]], RoundReport]:
    """Take one server step: `w += server_lr * mean(delta)` over the updates that can be used.

    Every accepted client weighs the same, however many examples it has. Each update is clipped
    again here: the bound does not rest on what a client claims. A client counts once a round.

    Args:
        task: The round, with the tensors it starts from.
        replies: What came back, in any order; of a client's several updates, the first counts.
        server_lr: Length of the step.
        aggregator: What stands for the updates, see `RoundOptions`.
        trim_share: See there.

    Returns:
        The new shared tensors, float32 (the old values if no update is usable), and the report.

    Raises:
        DivergedError: The new tensors are not finite.
    """
    refused: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    accepted: dict[str, Tensors] = {}
    num_clipped = 0
    for reply in replies:
        if reply.update is None:
            malformed = reply.failure == Refusal.MALFORMED
            (refused if malformed else failed)[str(reply.failure or "unknown")] += 1
            continue
        reason = _refusal(reply.client_id, reply.update, task, accepted)
        if reason is not None:
            refused[str(reason)] += 1
            continue
        if joint_norm(reply.update.delta) > task.clipping_norm * (1 + _CLIP_SLACK):
            num_clipped += 1
        accepted[reply.client_id] = clip_to_norm(reply.update.delta, task.clipping_norm)

    shared, step_norm = _server_step(task.shared, accepted, server_lr, aggregator, trim_share)
    norms = [joint_norm(accepted[client]) for client in sorted(accepted)]
    answered = {reply.client_id for reply in replies}
    return shared, RoundReport(
        server_round=task.server_round,
        num_sampled=len(task.cohort),
        num_accepted=len(accepted),
        num_missing=len(set(task.cohort) - answered),
        num_clipped=num_clipped,
        refused=dict(sorted(refused.items())),
        failed=dict(sorted(failed.items())),
        mean_update_norm=math.fsum(norms) / len(norms) if norms else 0.0,
        step_norm=step_norm,
    )


def run_rounds(
    shared: Tensors,
    client_ids: Sequence[str],
    bundle_digest: str,
    options: RoundOptions,
    collect: Collect,
    on_round: Callable[[RoundReport, Tensors], None] | None = None,
) -> RunResult:
    """Run all rounds; `collect` is the only thing that differs between drivers.

    Args:
        shared: The tensors to average, float32, as the bundle starts them.
        client_ids: The clients that may be sampled.
        bundle_digest: The bundle that every update must rest on.
        options: Rounds, cohort, step, bound, seed.
        collect: Sends a task to its cohort and returns the replies in time.
        on_round: Called after each round with its report and the new shared tensors.

    Returns:
        The final shared tensors and the reports. `shared` itself is not changed.
    """
    current = {name: np.array(value, np.float32) for name, value in sorted(shared.items())}
    reports = []
    for server_round in range(options.rounds):
        rng = np.random.default_rng([options.seed, server_round])
        task = RoundTask(
            server_round=server_round,
            cohort=sample_cohort(client_ids, options.cohort_size, rng),
            shared=current,
            bundle_digest=bundle_digest,
            clipping_norm=options.clipping_norm,
            steps=options.steps,
        )
        current, report = apply_round(
            task,
            collect(task),
            server_lr=options.server_lr,
            aggregator=options.aggregator,
            trim_share=options.trim_share,
        )
        reports.append(report)
        if on_round is not None:
            on_round(report, current)
    return RunResult(shared=current, reports=tuple(reports))


def _refusal(
    client_id: str, update: ModelUpdate, task: RoundTask, accepted: Mapping[str, Tensors]
) -> Refusal | None:
    if client_id not in task.cohort:
        return Refusal.NOT_SAMPLED
    if client_id in accepted:
        return Refusal.DUPLICATE
    return check_update(update, task.shared, task.bundle_digest)


def _server_step(
    shared: Tensors,
    accepted: Mapping[str, Tensors],
    server_lr: float,
    aggregator: str,
    trim_share: float,
) -> tuple[dict[str, NDArray[np.float32]], float]:
    """Add what stands for the updates; returns the new tensors and the norm of the step."""
    if not accepted:
        return {name: np.array(value, np.float32) for name, value in shared.items()}, 0.0
    stepped: dict[str, NDArray[np.float32]] = {}
    squares = []
    for name, value in shared.items():
        deltas = [accepted[client][name] for client in sorted(accepted)]
        step = server_lr * aggregate(deltas, aggregator, trim_share)
        squares.append(float(np.sum(np.square(step))))
        with np.errstate(over="ignore"):
            stepped[name] = (value.astype(np.float64) + step).astype(np.float32)
        if not np.isfinite(stepped[name]).all():
            msg = f"{name} is not finite after the server step; lower server_lr or clipping_norm"
            raise DivergedError(msg)
    return stepped, math.sqrt(math.fsum(squares))
