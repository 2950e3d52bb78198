"""Personal state = f(bundle, kept examples): the pure functions, and the store that keeps both."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk._core import State
from edge_sdk.errors import BadStateError, CapacityError
from edge_sdk.store import Binding, StoredState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edge_sdk.arrays import Float32Array, Int64Array
    from edge_sdk.engine import Engine
    from edge_sdk.manifest import Manifest
    from edge_sdk.store import Example, Store


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


class KeptState:
    """One user's store, bound to one engine: it never mixes features of different backbones.

    Not thread-safe: its owner holds a lock. Every method but `transaction` and `snapshot` must run
    inside one of them.
    """

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine, self._store = engine, store
        self._manifest = engine.bundle.manifest
        self._binding = Binding(engine.bundle.embed_identity, self._manifest.features.shape)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Read and write; a store without examples becomes this bundle's.

        Raises:
            BadStateError: The examples were made with another `embed.onnx`.
            StoreError: As `Store` says.
        """
        with self._store.transaction():
            if not self._is_bound():
                self._store.bind(self._binding)
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one version; raises as `transaction` does."""
        with self._store.snapshot():
            self._is_bound()
            yield

    def examples(self, *, adapted: bool) -> tuple[tuple[Example, ...], Float32Array]:
        """All kept examples and their features, or those among them that the last `adapt` saw."""
        through = self._store.adapted_through() if adapted else None
        return self._store.load(self._manifest.features.shape, through=through)

    def load(self, *, keep: bool) -> Fit:
        """The stored state where it is intact and still right, else the same computed again.

        `keep` stores what had to be computed; without it the store is only read.
        """
        through = self._store.adapted_through()
        examples = self._store.examples()
        slot_names(self._manifest, examples)  # do all of them fit this bundle?
        names = slot_names(self._manifest, [e for e in examples if e.id <= through])
        stored = self._store.state()
        if stored is None or (stored.bundle_digest, stored.examples_digest, stored.names) != (
            self._engine.bundle.digest,
            self._store.examples_digest(through),
            names,
        ):
            return self.fit_again(keep=keep)
        try:
            state = State.from_bytes(stored.data)
        except BadStateError:  # written by another version of the core
            return self.fit_again(keep=keep)
        return Fit(state, names, np.zeros(0, dtype=np.float32))

    def fit_again(self, *, keep: bool) -> Fit:
        """Fit the state to the examples the last `adapt` saw that are still kept."""
        examples, features = self.examples(adapted=True)
        fitted = fit(self._engine, examples, features)
        if keep:
            self.keep(fitted, examples)
        return fitted

    def keep(self, fitted: Fit, examples: Sequence[Example]) -> None:
        """Store a state; the bundle's own starting state is not stored."""
        if not examples:
            self._store.set_state(None)
            return
        self._store.set_state(
            StoredState(
                bundle_digest=self._engine.bundle.digest,
                examples_digest=self._store.examples_digest(examples[-1].id),
                names=fitted.names,
                data=fitted.state.to_bytes(),
            )
        )

    def _is_bound(self) -> bool:
        """Whether the store is this bundle's; one without examples may become any bundle's."""
        if self._store.binding() == self._binding:
            return True
        if self._store.examples():
            msg = (
                "the examples in this home were made with another embed.onnx; open it with the "
                "bundle they were taught with, or choose another home and teach again"
            )
            raise BadStateError(msg)
        return False
