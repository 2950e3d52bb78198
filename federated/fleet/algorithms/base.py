"""What an algorithm is: what devices do in a round, and what a user then predicts with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edge_sdk import State
from edge_sdk.engine import SupportSet
from edge_sdk.errors import EdgeError, InvalidOptionError
from edge_sdk.update import ModelUpdate, make_update, shareable_names
from federated.local_round import round_start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from edge_sdk import Engine
    from federated.fleet.options import AlgorithmOptions
    from federated.rounds.records import Tensors

    StepRule: TypeAlias = Callable[[State, State], State]


@dataclass(frozen=True, slots=True, eq=False)
class Pupil:
    """A user with examples.

    Attributes:
        key: Number of the device; -1 for somebody who is on none, of whom nothing is kept.
        features: float32 `[n, *features.shape]`.
        slots: int64 `[n]`.
    """

    key: int
    features: NDArray[np.float32]
    slots: NDArray[np.int64]


class Algorithm(ABC):
    """What devices do in a round, over the graphs of any bundle.

    Args:
        engine: The bundle that all devices hold, loaded.
        options: The algorithm's settings.
        threads: Devices that adapt at a time; results do not depend on it.

    Raises:
        InvalidOptionError: The bundle does not fit the algorithm.
    """

    name: ClassVar[str]

    def __init__(self, engine: Engine, options: AlgorithmOptions, *, threads: int) -> None:
        self.engine = engine
        self.options = options
        self.threads = threads
        self.initial = engine.initial_state()
        self.names = self.travelling()
        if not self.names:
            msg = (
                f"{self.name} would share nothing of this bundle; it needs shared tensors, or "
                "labels that fix what its slots mean"
            )
            raise InvalidOptionError(msg)

    def travelling(self) -> tuple[str, ...]:
        """Names of the tensors that are averaged: all that may leave a device, by default."""
        return shareable_names(self.engine.bundle.manifest)

    def shared(self) -> dict[str, NDArray[np.float32]]:
        """The tensors that travel, as the bundle starts them."""
        return {name: np.array(self.initial[name]) for name in sorted(self.names)}

    @abstractmethod
    def train(
        self, shared: Tensors, pupils: Sequence[Pupil], steps: int | None
    ) -> list[State | EdgeError]:
        """Let devices train in one round, from `start(shared)` or what they kept.

        Args:
            shared: The round's tensors, exactly `names`.
            pupils: The devices' users.
            steps: Inner steps; None: the bundle's own number.

        Returns:
            For each the state whose travelling tensors it sends, or why there is none.
        """

    @abstractmethod
    def personalize(
        self, shared: Tensors, pupils: Sequence[Pupil], steps: int | None
    ) -> list[State | EdgeError]:
        """What new users predict with, who hold the bundle with `shared` and teach their examples.

        Nothing is kept of them, and nothing of them leaves; arguments as for `train`.
        """

    def start(self, shared: Tensors, own: Mapping[str, NDArray[np.float32]] | None = None) -> State:
        """The bundle's state with `shared` in it, and with a user's `own` tensors."""
        manifest = self.engine.bundle.manifest
        whole = {name: self.initial[name] for name in shareable_names(manifest)}
        state = round_start(self.engine.bundle, self.initial, {**whole, **shared})
        return replaced(state, own) if own else state

    def update(self, start: State, adapted: State, *, clipping_norm: float) -> ModelUpdate:
        """The clipped update of the travelling tensors; what stays on the device has no part in it.

        Raises:
            NonFiniteError: The difference is not finite.
        """
        bundle = self.engine.bundle
        staying = set(shareable_names(bundle.manifest)) - set(self.names)
        if staying:
            adapted = replaced(adapted, {name: start[name] for name in staying})
        update = make_update(bundle.manifest, bundle.digest, start, adapted, clipping_norm)
        return ModelUpdate(update.bundle_digest, {name: update.delta[name] for name in self.names})

    def adapt(
        self, pupils: Sequence[Pupil], starts: Sequence[State], steps: int | None
    ) -> list[State | EdgeError]:
        """Run the inner loop of all users at once."""
        sets = [
            SupportSet(pupil.features, pupil.slots, start)
            for pupil, start in zip(pupils, starts, strict=True)
        ]
        return self.engine.adapt_many(sets, steps=steps, threads=self.threads)

    def own_steps(self, steps: int | None) -> int:
        """The number of steps that `steps` stands for."""
        return self.engine.bundle.manifest.steps if steps is None else steps


def replaced(state: State, values: Mapping[str, NDArray[np.float32]]) -> State:
    """The state with some tensors replaced."""
    return State.from_arrays({name: values.get(name, state[name]) for name in state.names})


def stepwise(
    algorithm: Algorithm,
    pupils: Sequence[Pupil],
    states: Sequence[State],
    steps: int,
    rule: StepRule,
) -> list[State | EdgeError]:
    """Take steps one by one, and let `rule` have its say after each.

    Args:
        algorithm: Whose engine to use.
        pupils: The users.
        states: What each starts from.
        steps: How many.
        rule: Given the state before a step and after it, the one to go on from.
    """
    found: list[State | EdgeError] = list(states)
    for _ in range(steps):
        going = [(i, state) for i, state in enumerate(found) if isinstance(state, State)]
        after = algorithm.adapt([pupils[i] for i, _ in going], [state for _, state in going], 1)
        for (i, old), new in zip(going, after, strict=True):
            found[i] = rule(old, new) if isinstance(new, State) else new
    return found
