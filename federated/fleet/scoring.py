"""How well each person is served: accuracy by user, before and after they teach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import State
from federated.fleet.algorithms.base import Pupil

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_sdk import Engine
    from federated.fleet.algorithms.base import Algorithm
    from federated.fleet.users import HeldOut
    from federated.rounds.records import Tensors


def before_teaching(
    algorithm: Algorithm, shared: Tensors, people: Sequence[HeldOut]
) -> NDArray[np.float64]:
    """Accuracy of each person with the shared state as it comes, `[people]`."""
    state = algorithm.start(shared)
    return np.array([_accuracy(algorithm.engine, state, person) for person in people])


def after_teaching(
    algorithm: Algorithm, shared: Tensors, people: Sequence[HeldOut], steps: int | None = None
) -> NDArray[np.float64]:
    """Accuracy of each person with what the algorithm makes of their few examples, `[people]`.

    Who taught nothing predicts with the shared state.

    Raises:
        EdgeError: Somebody's examples cannot be adapted on.
    """
    if not any(len(person.taught.slots) for person in people):
        return before_teaching(algorithm, shared, people)
    pupils = [Pupil(-1, person.taught.features, person.taught.slots) for person in people]
    found = []
    states = algorithm.personalize(shared, pupils, steps)
    for state, person in zip(states, people, strict=True):
        if not isinstance(state, State):
            raise state
        found.append(_accuracy(algorithm.engine, state, person))
    return np.array(found)


def _accuracy(engine: Engine, state: State, person: HeldOut) -> float:
    logits = engine.predict(person.asked.features, state).logits
    return float(np.mean(logits.argmax(axis=1) == person.asked.slots))
