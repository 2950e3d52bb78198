"""Ditto: a personal state for each user, drawn to the shared one, beside ordinary FedAvg.

Li et al., "Ditto: Fair and Robust Federated Learning Through Personalization", ICML 2021: a step on
F(v) + lambda/2 |v - w|^2 is a step on F(v), and then one of `pull` = step size * lambda towards w.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edge_sdk import State
from edge_sdk.errors import InvalidOptionError
from edge_sdk.update import shareable_names
from federated.fleet.algorithms.base import Pupil, replaced, stepwise
from federated.fleet.algorithms.fedavg import FedAvg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_sdk import Engine
    from edge_sdk.errors import EdgeError
    from federated.fleet.options import AlgorithmOptions
    from federated.rounds.records import Tensors


class Ditto(FedAvg):
    """The rounds are FedAvg's; what a user predicts with is his own."""

    name: ClassVar[str] = "ditto"

    def __init__(self, engine: Engine, options: AlgorithmOptions, *, threads: int) -> None:
        super().__init__(engine, options, threads=threads)
        if engine.bundle.manifest.adaptation != "gradient":
            msg = "ditto regularizes gradient steps; it needs a gradient bundle"
            raise InvalidOptionError(msg)
        self._kept: dict[int, dict[str, NDArray[np.float32]]] = {}

    def train(
        self, shared: Tensors, pupils: Sequence[Pupil], steps: int | None
    ) -> list[State | EdgeError]:
        """FedAvg's update; beside it, move each personal state on."""
        starts = [self.start(shared, self._kept.get(pupil.key)) for pupil in pupils]
        own = self._regularized(shared, pupils, starts, steps)
        for pupil, state in zip(pupils, own, strict=True):
            if isinstance(state, State):
                self._kept[pupil.key] = {name: np.array(state[name]) for name in state.names}
        return super().train(shared, pupils, steps)

    def personalize(
        self, shared: Tensors, pupils: Sequence[Pupil], steps: int | None
    ) -> list[State | EdgeError]:
        """A personal state that starts at the shared one."""
        return self._regularized(shared, pupils, [self.start(shared)] * len(pupils), steps)

    def personal_state(self, key: int) -> dict[str, NDArray[np.float32]] | None:
        """The personal state of a device, or None if it took part in no round."""
        return self._kept.get(key)

    def _regularized(
        self, shared: Tensors, pupils: Sequence[Pupil], starts: Sequence[State], steps: int | None
    ) -> list[State | EdgeError]:
        centre = self.start(shared)
        drawn = shareable_names(self.engine.bundle.manifest)
        rule = partial(_draw_to, centre, drawn, np.float32(self.options.pull))
        return stepwise(self, pupils, starts, self.own_steps(steps), rule)


def _draw_to(
    centre: State, names: Sequence[str], pull: np.float32, before: State, after: State
) -> State:
    """The gradient of the regularizer is that of the state before the step."""
    return replaced(
        after, {name: after[name] - pull * (before[name] - centre[name]) for name in names}
    )
