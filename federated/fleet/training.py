"""The work of a round: devices adapt on their examples, attackers tamper, and updates come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk.errors import EdgeError
from federated.fleet.algorithms.base import Pupil
from federated.fleet.attacks import poison_labels, tamper
from federated.round_core import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from edge_sdk import Engine, State
    from federated.fleet.algorithms.base import Algorithm
    from federated.fleet.devices import Devices
    from federated.fleet.options import AttackOptions
    from federated.fleet.users import FleetData
    from federated.round_core import RoundTask
    from federated.rounds.records import Tensors

_AT_ONCE = 512  # devices whose examples and states are in memory at a time


class Training:
    """Makes the updates of devices; what a driver calls its work.

    Args:
        engine: The bundle that all devices hold, loaded.
        algorithm: What a device does.
        data: The examples of each.
        devices: Who attacks.
        attack: And how.
        seed: Of the attacks.
    """

    def __init__(
        self,
        engine: Engine,
        algorithm: Algorithm,
        data: FleetData,
        devices: Devices,
        attack: AttackOptions,
        seed: int,
    ) -> None:
        self._algorithm, self._data, self._devices = algorithm, data, devices
        self._attack, self._seed = attack, seed
        self._num_labels = len(engine.bundle.manifest.labels) or engine.bundle.manifest.ways

    def __call__(
        self, task: RoundTask, shared: Tensors, chosen: NDArray[np.int64], event: NDArray[np.int64]
    ) -> Iterator[Reply]:
        """Let `chosen` devices train from `shared`; one reply each, in their order."""
        start = self._algorithm.start(shared)
        for first in range(0, len(chosen), _AT_ONCE):
            devices = chosen[first : first + _AT_ONCE].tolist()
            pupils = [self._pupil(device) for device in devices]
            adapted = self._algorithm.train(shared, pupils, task.steps)
            for device, state, number in zip(
                devices, adapted, event[first : first + _AT_ONCE].tolist(), strict=True
            ):
                yield self._reply(task, device, start, state, number)

    def _pupil(self, device: int) -> Pupil:
        found = self._data.examples(device)
        slots = found.slots
        if self._devices.attacks[device]:
            slots = poison_labels(self._attack, slots, self._num_labels)
        return Pupil(device, found.features, slots)

    def _reply(
        self, task: RoundTask, device: int, start: State, adapted: State | EdgeError, event: int
    ) -> Reply:
        client_id = self._devices.ids[device]
        if isinstance(adapted, EdgeError):  # as on a device: counted, and the round goes on
            return Reply(client_id=client_id, failure=adapted.code)
        try:
            update = self._algorithm.update(start, adapted, clipping_norm=task.clipping_norm)
        except EdgeError as error:
            return Reply(client_id=client_id, failure=error.code)
        if self._devices.attacks[device]:
            update = tamper(self._attack, update, self._seed, event)
        return Reply(client_id=client_id, update=update)
