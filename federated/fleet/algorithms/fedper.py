"""FedPer: shared layers are averaged, a personal head stays on its device.

Arivazhagan et al., "Federated Learning with Personalization Layers", 2019. The bundle's roles say
which is which: `shared` tensors travel; `slot` and `personal` ones, the head, are the user's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edge_sdk import State
from federated.fleet.algorithms.base import Algorithm, Pupil

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_sdk import Engine
    from edge_sdk.errors import EdgeError
    from federated.fleet.options import AlgorithmOptions
    from federated.rounds.records import Tensors


class FedPer(Algorithm):
    """Both parts take their steps together; a device goes on from the head that it kept."""

    name: ClassVar[str] = "fedper"

    def __init__(self, engine: Engine, options: AlgorithmOptions, *, threads: int) -> None:
        super().__init__(engine, options, threads=threads)
        self.staying = tuple(name for name in self.initial.names if name not in self.names)
        self._kept: dict[int, dict[str, NDArray[np.float32]]] = {}

    def travelling(self) -> tuple[str, ...]:
        """The shared tensors alone."""
        state = self.engine.bundle.manifest.state
        return tuple(spec.name for spec in state if spec.role == "shared")

    def train(
        self, shared: Tensors, pupils: Sequence[Pupil], steps: int | None
    ) -> list[State | EdgeError]:
        """Adapt the shared tensors and the kept head; keep the new head."""
        starts = [self.start(shared, self._kept.get(pupil.key)) for pupil in pupils]
        found = self.learn(pupils, starts, steps)
        for pupil, state in zip(pupils, found, strict=True):
            if isinstance(state, State):
                self._kept[pupil.key] = {name: np.array(state[name]) for name in self.staying}
        return found

    def personalize(
        self, shared: Tensors, pupils: Sequence[Pupil], steps: int | None
    ) -> list[State | EdgeError]:
        """As in a round, from the bundle's own head."""
        return self.learn(pupils, [self.start(shared)] * len(pupils), steps)

    def learn(
        self, pupils: Sequence[Pupil], starts: Sequence[State], steps: int | None
    ) -> list[State | EdgeError]:
        """Adapt both parts together."""
        return self.adapt(pupils, starts, steps)
