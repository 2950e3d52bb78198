"""Personalizer: teach, adapt, predict, forget, update: one user's model on one device.

The personal state is f(bundle, kept examples), so it can be recomputed at any time, and forgetting
is exact (docs/ARCHITECTURE.md section 4).
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from edge_sdk.arrays import Float32Array, Int64Array, as_examples, as_rows
from edge_sdk.engine import Engine
from edge_sdk.errors import (
    EmptySupportError,
    NothingTaughtError,
    StoreError,
    UnknownLabelError,
)
from edge_sdk.options import check_label
from edge_sdk.personal_state import (
    KeptState,
    PersonalPrediction,
    fit,
    read_prediction,
    slot_names,
    slots_of,
)
from edge_sdk.store import Example, Store
from edge_sdk.update import ModelUpdate, make_update

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from edge_sdk._core import State
    from edge_sdk.bundle import Bundle
    from edge_sdk.provider_options import Provider
    from edge_sdk.providers import Placement


@dataclass(frozen=True, slots=True, eq=False)
class AdaptReport:
    """What `adapt` did.

    Attributes:
        losses: float32 `[steps]`, in nats.
        num_examples: Examples adapted on.
        num_labels: Distinct labels among them.
        duration_ms: Wall time, storing included.
    """

    losses: Float32Array
    num_examples: int
    num_labels: int
    duration_ms: float


class Personalizer:
    """One user's model. Use it as a context manager, or call `close`.

    Threads may share one, and processes may share a home: every change is one transaction, so after
    a crash at any moment the store holds the old or the new version. `predict` never waits for
    `adapt`.

    Args:
        bundle: An open bundle, or the path of one. A later bundle with the same `embed.onnx` keeps
            all examples, and the state is recomputed with it.
        home: Folder for this user's data; made if absent, readable by this user only.
        providers: What runs `embed.onnx`, first choice first; as for `Engine`.
        threads: Threads of one ONNX Runtime session.
        drop_damaged: Delete examples that no longer match their checksum, instead of refusing.

    Raises:
        BadStateError: The examples in `home` were made with another `embed.onnx`; they stay.
        CapacityError: There are more labels in `home` than this bundle has slots.
        StoreError: `home` cannot be used, or an example is damaged.
        BadBundleError, InvalidOptionError, ProviderError, MissingExtraError, RuntimeLibraryError:
            As for `Engine`.
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str],
        *,
        home: str | os.PathLike[str],
        providers: Sequence[Provider] = ("cpu",),
        threads: int = 1,
        drop_damaged: bool = False,
    ) -> None:
        self._engine = Engine(bundle, providers=providers, threads=threads)
        self._bundle = self._engine.bundle
        self._lock = threading.RLock()
        self._store = Store(home)
        self._kept = KeptState(self._engine, self._store)
        self._scrub_due = False
        self._dropped: tuple[int, ...] = ()
        try:
            self._seen = self._store.change_count()
            with self._changing():
                if drop_damaged:
                    self._dropped = self._store.damaged_ids()
                    self._store.delete_examples(self._dropped)
                self._current = self._kept.load(keep=True)
            if self._dropped:
                self._store.scrub()
        except BaseException:
            self._store.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; calling it again does nothing."""
        with self._lock:
            self._store.close()

    @property
    def bundle(self) -> Bundle:
        """The bundle in use."""
        return self._bundle

    @property
    def placement(self) -> Placement:
        """Which provider runs the frozen graph, and what was refused before it."""
        return self._engine.placement

    @property
    def dropped(self) -> tuple[int, ...]:
        """Ids of the damaged examples that `drop_damaged` deleted at opening."""
        return self._dropped

    @property
    def state(self) -> State:
        """The current state: the last adapted one, or the bundle's own."""
        self._refresh()
        return self._current.state

    @property
    def examples(self) -> tuple[Example, ...]:
        """Id and label of each kept example, in the order taught."""
        with self._reading():
            return self._store.examples()

    @property
    def labels(self) -> tuple[str, ...]:
        """What the slots mean, in slot order: the bundle's labels, then the user's own."""
        return slot_names(self._bundle.manifest, self.examples)

    def teach(self, label: str, x: object) -> tuple[int, ...]:
        """Keep examples of one label; `adapt` then learns from them.

        What is kept is their features. Until `adapt` is called, predictions stay as they are.

        Args:
            label: 1..256 characters, the app's own word.
            x: float32 `[n, *input.shape]`, n >= 1, or one example `[*input.shape]`.

        Returns:
            The ids of the examples, ascending.

        Raises:
            InvalidOptionError: The label is not such a string.
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `x` is not such an array.
            CapacityError: Every slot already has a label.
            StoreError: They could not be stored.

        On any error the store is exactly what it was before the call.
        """
        name = check_label(label)
        features = as_rows(self._engine.embed(x), shape=self._feature_shape, name="features")
        with self._changing():
            kept = self._store.examples()
            slot_names(self._bundle.manifest, (*kept, Example(0, name)))  # is there a slot left?
            return self._store.add(name, features)

    def adapt(self) -> AdaptReport:
        """Adapt the bundle's starting state to all kept examples and make the result current.

        Raises:
            EmptySupportError: Nothing is kept.
            DivergedError: A loss or the state was not finite.
            StoreError: An example is damaged, or the state could not be stored.

        On any error the state is exactly what it was before the call.
        """
        started = time.perf_counter()
        with self._lock:
            with self._changing():
                examples, features = self._kept.examples(adapted=False)
                if not examples:
                    msg = "nothing is taught; call teach() first"
                    raise EmptySupportError(msg)
                current = fit(self._engine, examples, features)
                self._store.set_adapted_through(examples[-1].id)
                self._kept.keep(current, examples)
            self._current = current
        return AdaptReport(
            losses=current.losses,
            num_examples=len(examples),
            num_labels=len({example.label for example in examples}),
            duration_ms=(time.perf_counter() - started) * 1e3,
        )

    def predict(self, x: object) -> PersonalPrediction:
        """Label examples with the current state; only labels adapted to so far can be given.

        Args:
            x: float32 `[n, *input.shape]`, n >= 1, or one example `[*input.shape]`.

        Raises:
            NothingTaughtError: No label is in use yet.
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `x` is not such an array.
            StoreError, BadStateError: The store is closed, or what another process changed in it
                cannot be used with this bundle.
        """
        self._refresh()
        current = self._current
        rows = as_examples(x, shape=self._bundle.manifest.input.shape, name="x")
        slots, names = current.names_in_use()
        if not slots:
            msg = "no label is in use; call teach(), then adapt()"
            raise NothingTaughtError(msg)
        prediction = self._engine.predict(self._engine.embed(rows), current.state)
        return read_prediction(prediction.logits, slots, names)

    def forget(self, label: str) -> None:
        """Delete all examples of a label and all that was learned from them, in memory and files.

        Afterwards the state has the same bits as if the label had never been taught. Examples that
        `adapt` has not seen yet stay unseen.

        Raises:
            UnknownLabelError: No example of it is kept.
            DivergedError: A loss or the state without the label was not finite.
            StoreError: Another kept example is damaged, or the files could not be written. Only
                where the message says that the label is forgotten has anything changed: its bytes
                are then still in the write-ahead log, until the next change or opening.

        On any other error the store and the state are exactly what they were before the call.
        """
        name = check_label(label)
        with self._lock:
            with self._changing():
                if self._store.delete_label(name) == 0:
                    msg = "this label was never taught here, or has been forgotten"
                    raise UnknownLabelError(msg)
                self._scrub_due = True
                self._kept.examples(adapted=False)  # a damaged one may be this label's
                current = self._kept.fit_again(keep=True)
            self._current = current
            self._scrub_forgotten()

    def support(self) -> tuple[Float32Array, Int64Array]:
        """What `adapt` uses: features float32 `[n, *features.shape]` and slots int64 `[n]`.

        Raises:
            StoreError: An example is damaged.
        """
        with self._reading():
            examples, features = self._kept.examples(adapted=False)
        return features, slots_of(self._bundle.manifest, examples)

    def update(self, clipping_norm: float, *, start: State | None = None) -> ModelUpdate:
        """What this device learned, for a federated round: the only thing that may leave it.

        Args:
            clipping_norm: L2 bound on the whole update.
            start: The state to adapt from, the bundle's by default. The examples are those that
                the last `adapt` saw.

        Raises:
            NothingTaughtError: There was no `adapt` yet, or all it saw is forgotten.
            InvalidOptionError, BadStateError, BadUpdateError, NonFiniteError: As for `make_update`.
            DivergedError: Adapting from `start` was not finite.
        """
        with self._reading():
            examples, features = self._kept.examples(adapted=True)
        if not examples:
            msg = "there is nothing to share; call teach(), then adapt()"
            raise NothingTaughtError(msg)
        manifest = self._bundle.manifest
        origin = self._engine.initial_state() if start is None else start
        adapted = self._engine.adapt(features, slots_of(manifest, examples), start=origin).state
        return make_update(manifest, self._bundle.digest, origin, adapted, clipping_norm)

    def _scrub_forgotten(self) -> None:
        reason = "a reader keeps"
        try:
            self._scrub_due = not self._store.scrub()
        except StoreError as error:
            reason = f"{error}; that keeps"
        if self._scrub_due:
            msg = (
                f"the label is forgotten, but {reason} its bytes in the write-ahead log; "
                "they leave it at the next change or opening"
            )
            raise StoreError(msg)

    @property
    def _feature_shape(self) -> tuple[int, ...]:
        return self._bundle.manifest.features.shape

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One transaction, of one thread at a time."""
        with self._lock:
            if self._scrub_due:
                self._scrub_due = not self._store.scrub()
            try:
                with self._kept.transaction():
                    yield
            except BaseException:
                self._seen = -1  # an interrupt may have come after the commit: look again
                raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One consistent version of the store."""
        with self._lock, self._kept.snapshot():
            yield

    def _refresh(self) -> None:
        """See what another process has committed, unless a change is under way in this one."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            count = self._store.change_count()
            if count != self._seen:
                with self._reading():
                    self._current = self._kept.load(keep=False)
                self._seen = count
        finally:
            self._lock.release()
