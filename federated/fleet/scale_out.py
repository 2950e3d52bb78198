"""Training in several processes, perhaps on several machines, with the numbers of one process.

What a device sends depends on nothing but the round's tensors, its own examples and what it keeps,
so any process may compute it: a device always trains in the same one, where it also keeps its head,
and replies come back in the order in which the devices were chosen. Ray starts the processes and
carries what goes between them; it is imported when it is used (the extra `ray`).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edge_sdk import Engine
from edge_sdk.errors import MissingExtraError
from edge_sdk.manifest import DIGEST_NAME, MANIFEST_NAME
from federated.fleet.algorithms import make_algorithm
from federated.fleet.devices import Devices
from federated.fleet.training import Training

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from edge_sdk import Bundle
    from federated.fleet.config import FleetConfig
    from federated.fleet.options import RayOptions
    from federated.fleet.users import FleetData
    from federated.round_core import Reply, RoundTask
    from federated.rounds.records import Tensors

    Int = NDArray[np.int64]

_AT_ONCE = 512  # devices of one request


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WorkerRecipe:
    """All that a process needs to train any device of a fleet.

    Attributes:
        files: The bundle's files by name.
        config: The fleet.
        data: The examples of each device.
    """

    files: Mapping[str, bytes]
    config: FleetConfig
    data: FleetData

    @classmethod
    def of(cls, bundle: Bundle, config: FleetConfig, data: FleetData) -> Self:
        """That of a bundle in memory."""
        files = {
            **bundle.files,
            MANIFEST_NAME: bundle.raw_manifest,
            DIGEST_NAME: f"{bundle.digest}\n".encode(),
        }
        return cls(files=files, config=config, data=data)


class Worker:
    """Trains some of the devices, in a process of its own."""

    def __init__(self, recipe: WorkerRecipe) -> None:
        config, data = recipe.config, recipe.data
        with tempfile.TemporaryDirectory() as folder:
            for name, content in recipe.files.items():
                (Path(folder) / name).write_bytes(content)
            engine = Engine(folder)
        algorithm = make_algorithm(engine, config.algorithm, threads=config.threads)
        devices = Devices(config, data.counts)
        self._train = Training(engine, algorithm, data, devices, config.attack, config.seed)

    def replies(self, task: RoundTask, shared: Tensors, chosen: Int, event: Int) -> list[Reply]:
        """Let `chosen` devices train from `shared`."""
        return list(self._train(task, shared, chosen, event))


class Crew(Protocol):
    """Workers in other processes."""

    size: int

    def hold(self, shared: Tensors) -> Any:
        """Make tensors known to all workers, once for many requests."""

    def ask(self, worker: int, task: RoundTask, held: Any, chosen: Int, event: Int) -> Any:
        """Begin `Worker.replies` of one of them."""

    def answer(self, asked: Any) -> list[Reply]:
        """Wait for what was begun."""


class SpreadTraining:
    """Like `Training`, what a driver calls its work: each device trains with a worker of its own.

    Args:
        crew: The workers.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def __call__(
        self, task: RoundTask, shared: Tensors, chosen: Int, event: Int
    ) -> Iterator[Reply]:
        """Let `chosen` devices train from `shared`; one reply each, in their order."""
        held = self._crew.hold(shared)
        bare = replace(task, cohort=(), shared={})  # workers need neither
        size = _AT_ONCE * self._crew.size
        ahead = None  # the next requests run while replies to the last ones are used
        for first in range(0, len(chosen), size):
            part = slice(first, first + size)
            asked = self._ask(bare, held, chosen[part], event[part])
            if ahead is not None:
                yield from self._in_order(*ahead)
            ahead = (chosen[part], asked)
        if ahead is not None:
            yield from self._in_order(*ahead)

    def _ask(self, task: RoundTask, held: Any, chosen: Int, event: Int) -> dict[int, Any]:
        owner = chosen % self._crew.size
        return {
            worker: self._crew.ask(
                worker, task, held, chosen[owner == worker], event[owner == worker]
            )
            for worker in np.unique(owner).tolist()
        }

    def _in_order(self, chosen: Int, asked: dict[int, Any]) -> Iterator[Reply]:
        found = {worker: iter(self._crew.answer(request)) for worker, request in asked.items()}
        for device in chosen.tolist():
            yield next(found[device % self._crew.size])


class RayCrew:
    """Workers as Ray's actors; ends them, and the Ray that it started, when it is closed.

    Args:
        recipe: What a worker needs.
        options: How many, and where.

    Raises:
        MissingExtraError: Ray is not installed.
        ConnectionError: There is no cluster at the address.
    """

    def __init__(self, recipe: WorkerRecipe, options: RayOptions) -> None:
        try:
            import ray  # noqa: PLC0415, an extra
        except ModuleNotFoundError as error:
            msg = "[ray] needs ray: pip install 'edge-sdk[ray]'"
            raise MissingExtraError(msg) from error
        self._ray: Any = ray
        self._started = not ray.is_initialized()
        if self._started:
            ray.init(address=options.address or None, include_dashboard=False, log_to_driver=False)
        self.size = options.processes
        held = ray.put(recipe)
        # spread over the cluster's machines
        actor = ray.remote(scheduling_strategy="SPREAD")(Worker)
        self._workers = [actor.remote(held) for _ in range(self.size)]

    def __enter__(self) -> Self:
        """The crew itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            self._ray.kill(worker)
        if self._started:
            self._ray.shutdown()

    def hold(self, shared: Tensors) -> Any:
        """Put tensors into Ray's store."""
        return self._ray.put(dict(shared))

    def ask(self, worker: int, task: RoundTask, held: Any, chosen: Int, event: Int) -> Any:
        """Begin a worker's `replies`."""
        return self._workers[worker].replies.remote(task, held, chosen, event)

    def answer(self, asked: Any) -> list[Reply]:
        """Wait for a worker.

        Raises:
            EdgeError: What the worker raised.
        """
        found: list[Reply] = self._ray.get(asked)
        return found
