"""Personal state = f(bundle, kept examples): the pure functions behind the personalizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import CapacityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_sdk._core import State
    from edge_sdk.arrays import Float32Array, Int64Array
    from edge_sdk.engine import Engine
    from edge_sdk.manifest import Manifest
    from edge_sdk.store import Example


@dataclass(frozen=True, slots=True, eq=False)
class PersonalPrediction:
    """What is predicted for n examples.

    Attributes:
        labels: The most probable label of each example, `n` of them.
        confidence: Its probability, float32 `[n]`.
        probabilities: float32 `[n, len(names)]`, each row sums to 1.
        names: The label of each column: the labels in use, in slot order.
    """

    labels: tuple[str, ...]
    confidence: Float32Array
    probabilities: Float32Array
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A state, what its first slots mean, and the losses (nats, `[steps]`) of getting there."""

    state: State
    names: tuple[str, ...]
    losses: Float32Array

    def names_in_use(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Slots that are in use and have a name, and those names, in slot order."""
        counts = self.state["counts"][: len(self.names)]
        slots = tuple(int(slot) for slot in np.flatnonzero(counts > 0))
        return slots, tuple(self.names[slot] for slot in slots)


def slot_names(manifest: Manifest, examples: Iterable[Example]) -> tuple[str, ...]:
    """What the slots mean: the bundle's labels, then the user's in order of their oldest example.

    Raises:
        CapacityError: There are more labels than slots.
    """
    taught = (example.label for example in examples)
    names = tuple(dict.fromkeys((*manifest.labels, *taught)))
    if len(names) > manifest.ways:
        msg = (
            f"this bundle has {manifest.ways} label slots, {len(names)} are needed; "
            "forget a label first"
        )
        raise CapacityError(msg)
    return names


def slots_of(manifest: Manifest, examples: Sequence[Example]) -> Int64Array:
    """The slot of each example, int64 `[n]`."""
    slot_of = {name: slot for slot, name in enumerate(slot_names(manifest, examples))}
    return np.array([slot_of[example.label] for example in examples], dtype=np.int64)


def fit(engine: Engine, examples: Sequence[Example], features: Float32Array) -> Fit:
    """Adapt the bundle's starting state to examples in the order taught; without any, that state.

    Raises:
        CapacityError: There are more labels than slots.
        DivergedError: A loss or the state is not finite.
    """
    manifest = engine.bundle.manifest
    names = slot_names(manifest, examples)
    if not examples:
        return Fit(engine.initial_state(), names, np.zeros(0, dtype=np.float32))
    result = engine.adapt(features, slots_of(manifest, examples))
    return Fit(result.state, names, result.losses)


def read_prediction(
    logits: Float32Array, slots: Sequence[int], names: tuple[str, ...]
) -> PersonalPrediction:
    """Probabilities over the slots in use, from `logits` `[n, ways]`."""
    wide = logits[:, list(slots)].astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    best = np.argmax(probabilities, axis=1)
    return PersonalPrediction(
        labels=tuple(names[column] for column in best),
        confidence=probabilities[np.arange(len(best)), best],
        probabilities=probabilities,
        names=names,
    )
