"""A fleet in one process: the round core and client code of the Flower apps, without a network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import EdgeError, InvalidOptionError
from edge_sdk.update import ModelUpdate
from federated.local_round import local_round, round_start, shared_tensors
from federated.privacy.mechanism import noised_contribution, noised_update
from federated.round_core import Reply, SecureSum, run_rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from edge_sdk import Engine, State
    from export.tasks.base import ImagePool
    from federated.privacy.mechanism import DeviceNoise
    from federated.round_core import (
        PrivateRounds,
        RoundOptions,
        RoundReport,
        RoundTask,
        RunState,
    )

_EMBED_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedClient:
    """One virtual user, and what is on their device.

    Attributes:
        client_id: Stable id, the same as over Flower.
        features: The examples' features, float32 `[n, *features.shape]`.
        slots: Their label slots, int64 `[n]`.
    """

    client_id: str
    features: NDArray[np.float32]
    slots: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationResult:
    """How a simulated run ended.

    Attributes:
        shared: The shared tensors after the last round.
        state: The state that devices start from with them.
        reports: One a round.
        evaluations: What the callback returned after each round; empty without one.
    """

    shared: dict[str, NDArray[np.float32]]
    state: State
    reports: tuple[RoundReport, ...]
    evaluations: tuple[float, ...]


def simulate(
    engine: Engine,
    clients: Sequence[SimulatedClient],
    options: RoundOptions,
    evaluate: Callable[[State], float] | None = None,
    *,
    on_round: Callable[[RoundReport, State], None] | None = None,
    privacy: PrivateRounds | None = None,
    start: RunState | None = None,
    keep: Callable[[RunState], None] | None = None,
) -> SimulationResult:
    """Run federated rounds over virtual users, through the device's C++ runtime.

    Args:
        engine: The bundle that all users hold, loaded.
        clients: The users; their ids are distinct.
        options: The rounds to run.
        evaluate: Called with the starting state after each round; its figures are returned.
        on_round: Called after each round with its report and the state that devices then start
            from, before `evaluate`.
        privacy: Makes the rounds private; None adds no noise.
        start: Go on from here; only rounds from here on are evaluated.
        keep: Called with the run's state after each round, for a checkpoint.

    Raises:
        InvalidOptionError: There is no client, or two have one id.
    """
    by_id = {client.client_id: client for client in clients}
    if len(by_id) != len(clients):
        msg = "two clients have the same id; give each its own"
        raise InvalidOptionError(msg)
    bundle, initial = engine.bundle, engine.initial_state()
    evaluations: list[float] = []

    def collect(task: RoundTask) -> Iterable[Reply] | SecureSum:
        begin = round_start(bundle, initial, task.shared)
        replies = [_reply(engine, begin, by_id[client_id], task) for client_id in task.cohort]
        return with_device_noise(replies, task, privacy)

    def after_round(report: RoundReport, shared: Mapping[str, NDArray[np.float32]]) -> None:
        if evaluate is None and on_round is None:
            return
        state = round_start(bundle, initial, shared)
        if on_round is not None:
            on_round(report, state)
        if evaluate is not None:
            evaluations.append(evaluate(state))

    result = run_rounds(
        shared_tensors(bundle, initial),
        list(by_id),
        bundle.digest,
        options,
        collect,
        after_round,
        privacy=privacy,
        start=start,
        keep=keep,
    )
    return SimulationResult(
        shared=result.shared,
        state=round_start(bundle, initial, result.shared),
        reports=result.reports,
        evaluations=tuple(evaluations),
    )


def embed_images(engine: Engine, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features of uint8 images `[n, 28, 28]` (ink 255), in batches; float32 `[n, ...]`, n >= 1."""
    shape = engine.bundle.manifest.input.shape
    parts = []
    for first in range(0, len(images), _EMBED_BATCH):
        batch = images[first : first + _EMBED_BATCH].astype(np.float32) / np.float32(255)
        parts.append(engine.embed(batch.reshape(len(batch), *shape)))
    return np.concatenate(parts)


def clients_of(engine: Engine, pool: ImagePool, users: Sequence[int]) -> list[SimulatedClient]:
    """Make one client of each user of a pool; the pool's classes are the label slots.

    Args:
        engine: The bundle; it has at least as many slots as the pool has classes.
        pool: Images with a user each; user u becomes the client "user-0000u".
        users: The users to take.

    Raises:
        InvalidOptionError: The pool has more classes than the bundle has slots, or a user no image.
    """
    ways = engine.bundle.manifest.ways
    if len(pool.class_names) > ways:
        msg = f"the tasks have {len(pool.class_names)} classes, the bundle has {ways} slots"
        raise InvalidOptionError(msg)
    clients = []
    for user in users:
        rows = np.flatnonzero(pool.users == user)
        if not len(rows):
            msg = f"user {user} has no image in the pool"
            raise InvalidOptionError(msg)
        clients.append(
            SimulatedClient(
                client_id=f"user-{user:05d}",
                features=embed_images(engine, pool.images[rows]),
                slots=pool.classes[rows],
            )
        )
    return clients


def _reply(engine: Engine, start: State, client: SimulatedClient, task: RoundTask) -> Reply:
    try:
        update = local_round(
            engine,
            start,
            client.features,
            client.slots,
            clipping_norm=task.clipping_norm,
            steps=task.steps,
        )
    except EdgeError as error:  # as on a device: counted, and the round goes on
        return Reply(client_id=client.client_id, failure=error.code)
    return Reply(client_id=client.client_id, update=update)


def with_device_noise(
    replies: Iterable[Reply], task: RoundTask, privacy: PrivateRounds | None
) -> Iterable[Reply] | SecureSum:
    """What reaches the server of these replies: as they are, each noised, or their noised sum.

    Args:
        replies: What devices made, before any noise of theirs.
        task: The round, which says what devices add.
        privacy: Gives each device its randomness; None in rounds without noise.
    """
    if task.device_noise is None or privacy is None:
        return replies
    if task.arriving_norm is None:
        return _noised_sum(replies, task, task.device_noise, privacy)
    noise = task.device_noise
    return (_noised(reply, task, noise, privacy) for reply in replies)


def _noised(reply: Reply, task: RoundTask, noise: DeviceNoise, privacy: PrivateRounds) -> Reply:
    """What a device with local noise replies."""
    if reply.update is None:
        return reply
    words = privacy.words(task.server_round, f"device {reply.client_id}")
    delta = noised_update(reply.update.delta, task.clipping_norm, noise, words)
    return replace(reply, update=ModelUpdate(reply.update.bundle_digest, delta))


def _noised_sum(
    replies: Iterable[Reply], task: RoundTask, noise: DeviceNoise, privacy: PrivateRounds
) -> SecureSum:
    """What secure aggregation would give the server: each device noises its own update first."""
    total = np.zeros(sum(value.size for value in task.shared.values()), np.int64)
    num_contributors = 0
    failed: Counter[str] = Counter()
    for reply in replies:
        if reply.update is None:
            failed[str(reply.failure)] += 1
            continue
        words = privacy.words(task.server_round, f"device {reply.client_id}")
        total += noised_contribution(reply.update.delta, task.clipping_norm, noise, words)
        num_contributors += 1
    return SecureSum(total=total, num_contributors=num_contributors, failed=dict(failed))
