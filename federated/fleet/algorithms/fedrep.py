"""FedRep: first the personal head, on the shared layers as they came; then those, under that head.

Collins et al., "Exploiting Shared Representations for Personalized Federated Learning", ICML 2021.
Holding tensors still is putting them back after each step, which for plain gradient steps is the
same as not moving them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from edge_sdk import State
from edge_sdk.errors import InvalidOptionError
from federated.fleet.algorithms.base import Pupil, replaced, stepwise
from federated.fleet.algorithms.fedper import FedPer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sdk import Engine
    from edge_sdk.errors import EdgeError
    from federated.fleet.options import AlgorithmOptions
    from federated.rounds.records import Tensors


class FedRep(FedPer):
    """`head_steps` steps on the head, then the round's steps on the shared tensors."""

    name: ClassVar[str] = "fedrep"

    def __init__(self, engine: Engine, options: AlgorithmOptions, *, threads: int) -> None:
        super().__init__(engine, options, threads=threads)
        if engine.bundle.manifest.adaptation != "gradient":
            msg = "fedrep takes steps on one part of a state; it needs a gradient bundle"
            raise InvalidOptionError(msg)

    def learn(
        self, pupils: Sequence[Pupil], starts: Sequence[State], steps: int | None
    ) -> list[State | EdgeError]:
        """Both phases."""
        heads = self._hold(pupils, starts, self.names, self.options.head_steps)
        going = [i for i, state in enumerate(heads) if isinstance(state, State)]
        both = self._hold(
            [pupils[i] for i in going],
            [state for state in heads if isinstance(state, State)],
            self.staying,
            self.own_steps(steps),
        )
        for i, state in zip(going, both, strict=True):
            heads[i] = state
        return heads

    def personalize(
        self, shared: Tensors, pupils: Sequence[Pupil], steps: int | None
    ) -> list[State | EdgeError]:
        """Learn the head alone (section 3 of the paper: new users)."""
        del steps
        starts = [self.start(shared)] * len(pupils)
        return self._hold(pupils, starts, self.names, self.options.head_steps)

    def _hold(
        self, pupils: Sequence[Pupil], starts: Sequence[State], names: Sequence[str], steps: int
    ) -> list[State | EdgeError]:
        """Take steps that leave `names` as they are."""
        rule = partial(_put_back, names)
        return stepwise(self, pupils, starts, steps, rule)


def _put_back(names: Sequence[str], before: State, after: State) -> State:
    return replaced(after, {name: before[name] for name in names})
