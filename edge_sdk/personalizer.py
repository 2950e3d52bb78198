"""Personalizer: teach, adapt, predict, forget, update: one user's model on one device.

The personal state is f(bundle, kept examples), so it can be recomputed at any time, and forgetting
is exact (docs/ARCHITECTURE.md section 4).

Fast path: `predict` takes one reference to the state that answers and never waits for a change.
Slow path: `adapt` computes beside it, and a commit swaps the reference (`live_state`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self, overload

from edge_sdk.adapt_job import Adapter
from edge_sdk.arrays import Float32Array, Int64Array, as_rows
from edge_sdk.engine import Engine
from edge_sdk.errors import InvalidOptionError, NothingTaughtError
from edge_sdk.events import Status
from edge_sdk.keys import as_key_store
from edge_sdk.live_state import LiveState
from edge_sdk.options import check_label
from edge_sdk.personal_state import (
    PersonalPrediction,
    read_prediction,
    slot_names,
    slots_of,
)
from edge_sdk.update import ModelUpdate, make_update

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from edge_sdk._core import State
    from edge_sdk.adapt_job import AdaptJob, AdaptReport
    from edge_sdk.bundle import Bundle
    from edge_sdk.capacity import Capacity
    from edge_sdk.events import Event
    from edge_sdk.keys import KeyStore
    from edge_sdk.provider_options import Provider
    from edge_sdk.providers import Placement
    from edge_sdk.store_rows import Example


class Personalizer:
    """One user's model. Use it as a context manager, or call `close`.

    Threads may share one, and processes may share a home: every change is one transaction, so after
    a crash at any moment the store holds the old or the new version. `predict` never waits for
    `adapt`.

    What is damaged in the home is noticed (SHA-256 on every blob) and never stops predictions: the
    state is computed again from the examples, else the generation before answers, else the bundle's
    own state. `status` and the events say so.

    Args:
        bundle: An open bundle, or the path of one. A later bundle with the same `embed.onnx` keeps
            all examples, and the state is recomputed with it.
        home: Folder for this user's data; made if absent, readable by this user only.
        providers: What runs `embed.onnx`, first choice first; as for `Engine`.
        threads: Threads of one ONNX Runtime session.
        drop_damaged: Delete examples that no longer match their checksum, and all that was learned
            from them.
        key: 32 random bytes of this user, or a `KeyStore` that keeps them: labels, features and
            states are then encrypted at rest (needs the extra `secure`). A home that is not
            encrypted is encrypted at once. Without a key the home is not encrypted.
        capacity: The most examples that a label may keep; no limit by default.
        on_event: Called with each `Event` after it happened, in the thread where it happened.

    Raises:
        BadStateError: The examples in `home` were made with another `embed.onnx`; they stay.
        CapacityError: There are more labels in `home` than this bundle has slots.
        WrongKeyError: `home` is encrypted with another key, or no key was given; nothing is lost.
        KeyStoreError, MissingExtraError: The key, or what encrypts, cannot be used.
        StoreError: `home` cannot be used.
        InvalidOptionError: The bundle learns values, not labels; or as for `Engine`.
        BadBundleError, ProviderError, RuntimeLibraryError: As for `Engine`.
    """

    def __init__(
        self,
        bundle: Bundle | str | os.PathLike[str],
        *,
        home: str | os.PathLike[str],
        providers: Sequence[Provider] = ("cpu",),
        threads: int = 1,
        drop_damaged: bool = False,
        key: bytes | KeyStore | None = None,
        capacity: Capacity | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        keys = as_key_store(key)
        self._engine = Engine(bundle, providers=providers, threads=threads)
        self._bundle = self._engine.bundle
        if self._bundle.manifest.task != "classification":
            msg = "this bundle learns values, which have no labels to teach; use Engine"
            raise InvalidOptionError(msg)
        self._capacity = capacity
        self._live = LiveState(
            self._engine, home, keys=keys, drop_damaged=drop_damaged, listener=on_event
        )
        self._adapter = Adapter(self._engine, self._live)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self, *, finish: bool = False) -> None:
        """Close the store; calling it again does nothing.

        Args:
            finish: Wait for adaptations under way in the background; by default they are cancelled.
        """
        self._adapter.stop(cancel=not finish, wait=True)
        self._live.close()

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
        return self._live.dropped

    @property
    def status(self) -> Status:
        """Which state answers, where it comes from, and what is damaged."""
        now, encrypted = self._live.seen(), self._live.store.encrypted
        return Status(now.version, now.source, encrypted, now.damage, self._adapter.busy)

    @property
    def version(self) -> int:
        """The version of the current state; 0 is the bundle's own.

        Committed states of one home are numbered 1, 2, ...: no number is used twice. With another
        bundle a home's states are other ones, and get other numbers when it is opened.
        """
        return self._live.seen().version

    @property
    def state(self) -> State:
        """The current state: the last adapted one, or the bundle's own."""
        self._live.look()
        return self._live.seen().state

    @property
    def examples(self) -> tuple[Example, ...]:
        """Id and label of each kept example, in the order taught."""
        with self._live.reading():
            return self._live.store.examples.kept()

    @property
    def labels(self) -> tuple[str, ...]:
        """What the slots mean, in slot order: the bundle's labels, then the user's own."""
        return slot_names(self._bundle.manifest, self.examples)

    def teach(self, label: str, x: object) -> tuple[int, ...]:
        """Keep examples of one label; `adapt` then learns from them.

        What is kept is their features: an example is embedded once in its life. Until `adapt` is
        called, predictions stay as they are. Where the label then has more than `capacity` allows,
        those that its policy gives up are gone with the same commit.

        Args:
            label: 1..256 characters, the app's own word.
            x: float32 `[n, *input.shape]`, n >= 1, or one example `[*input.shape]`.

        Returns:
            The id of each example of `x`, ascending; `examples` tells which of them are kept.

        Raises:
            InvalidOptionError: The label is not such a string.
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `x` is not such an array.
            CapacityError: Every slot already has a label.
            StoreError: They could not be stored.

        On any error the store is exactly what it was before the call.
        """
        name = check_label(label)
        features = as_rows(self._engine.embed(x), shape=self._feature_shape, name="features")
        with self._live.changing() as kept:
            return kept.teach(name, features, self._capacity)

    @overload
    def adapt(
        self,
        *,
        background: Literal[False] = False,
        progress: Callable[[float], None] | None = None,
    ) -> AdaptReport: ...

    @overload
    def adapt(
        self, *, background: Literal[True], progress: Callable[[float], None] | None = None
    ) -> AdaptJob: ...

    def adapt(
        self, *, background: bool = False, progress: Callable[[float], None] | None = None
    ) -> AdaptReport | AdaptJob:
        """Adapt the bundle's starting state to all kept examples and make the result current.

        Predictions, `teach` and `forget` go on meanwhile; where that changes what was kept at the
        start, or another state becomes current, it starts again on what is kept then.

        Args:
            background: Return an `AdaptJob` at once and adapt in a thread. The state has the same
                bits as without.
            progress: Called after each inner step with the part done, in (0, 1], in the thread that
                adapts. What it raises stops the adaptation.

        Raises:
            EmptySupportError: Nothing is kept.
            DivergedError: A loss or the state was not finite.
            StoreError: An example is damaged, or the state could not be stored.

        In the background `AdaptJob.result` raises these. On any error the state is exactly what it
        was before the call.
        """
        return self._adapter.start(progress) if background else self._adapter.run(progress)

    def predict(self, x: object) -> PersonalPrediction:
        """Label examples with the current state; only labels adapted to so far can be given.

        All of the answer comes from the one state whose version it names. It waits for no change
        of this process or another one. What another process commits is seen within 20 ms.

        Args:
            x: float32 `[n, *input.shape]`, n >= 1, or one example `[*input.shape]`.

        Raises:
            NothingTaughtError: No label is in use yet.
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `x` is not such an array.
            StoreError: The store is closed.
        """
        current = self._live.current()
        features = self._engine.embed(x)
        if not current.slots:
            msg = "no label is in use; call teach(), then adapt()"
            raise NothingTaughtError(msg)
        return read_prediction(self._engine.predict(features, current.state).logits, current)

    def refresh(self) -> None:
        """See what other processes have committed, now.

        Raises:
            StoreError: The store cannot be read; what answered before goes on.
            BadStateError, WrongKeyError: Another process has made this home another bundle's, or
                encrypted it.
        """
        self._live.refresh()

    def roll_back(self) -> None:
        """Make the generation before the current state current again, for good.

        There are two generations: after a roll-back, or before the first `adapt`, there is none to
        return to. Before the first adapted state comes the bundle's own. The examples stay: a later
        `adapt` learns from all that are kept.

        Raises:
            NoGenerationError: There is no earlier generation.
            StoreDamagedError: It is damaged and cannot be computed again.
            StoreError: The store could not be written.

        On any error the state is exactly what it was before the call.
        """
        self._live.roll_back()

    def forget(self, what: str | int) -> None:
        """Delete all examples of a label, or one example, and all that was learned from them.

        In memory and in the files. Afterwards the state, and the generation before it, have the
        same bits as if what was forgotten had never been among their examples. Examples that
        `adapt` has not seen yet stay unseen; what `capacity` gave up does not come back.

        Args:
            what: A label, or the id of an example.

        Raises:
            UnknownLabelError: No example of the label is kept.
            UnknownExampleError: No such example is kept.
            DivergedError: A loss or the state without it was not finite.
            StoreError: Another kept example is damaged, or the files could not be written. Only
                where the message says that it is forgotten has anything changed: its bytes
                are then still in the write-ahead log, until the next change or opening.

        On any other error the store and the state are exactly what they were before the call.
        """
        is_id = isinstance(what, int) and not isinstance(what, bool)
        self._live.forget(what if is_id else check_label(what))

    def erase(self) -> None:
        """Destroy all that was kept or learned: examples, labels, both generations, and the key.

        Predictions then equal those of a home that was never used, bit for bit, and no file holds a
        byte of a label, a feature or a state. Adaptations under way are cancelled. A key that the
        app supplied as bytes is the app's to destroy; what was encrypted with it is gone all the
        same, with the store's own data key. A database too damaged to be opened is overwritten and
        removed: no other process may have it open then.

        Raises:
            StoreError: The files could not be written. Where the message says that all is erased,
                bytes are still in the write-ahead log, until the next change or opening.
            KeyStoreError: All is erased but the key, which could not be destroyed; the next opening
                tries again.
        """
        self._adapter.stop(cancel=True, wait=False)
        self._live.erase()

    def support(self) -> tuple[Float32Array, Int64Array]:
        """What `adapt` uses: features float32 `[n, *features.shape]` and slots int64 `[n]`.

        Raises:
            StoreError: An example is damaged.
        """
        with self._live.reading() as kept:
            examples, features = kept.support()
        return features, slots_of(self._bundle.manifest, examples)

    def update(self, clipping_norm: float, *, start: State | None = None) -> ModelUpdate:
        """What this device learned, for a federated round: the only thing that may leave it.

        Args:
            clipping_norm: L2 bound on the whole update.
            start: The state to adapt from, the bundle's by default. The examples are those that
                the current state was adapted on.

        Raises:
            NothingTaughtError: There was no `adapt` yet, or all it saw is forgotten.
            InvalidOptionError, BadStateError, BadUpdateError, NonFiniteError: As for `make_update`.
            DivergedError: Adapting from `start` was not finite.
        """
        with self._live.reading() as kept:
            examples, features = kept.adapted()
        if not examples:
            msg = "there is nothing to share; call teach(), then adapt()"
            raise NothingTaughtError(msg)
        manifest = self._bundle.manifest
        origin = self._engine.initial_state() if start is None else start
        adapted = self._engine.adapt(features, slots_of(manifest, examples), start=origin).state
        return make_update(manifest, self._bundle.digest, origin, adapted, clipping_norm)

    @property
    def _feature_shape(self) -> tuple[int, ...]:
        return self._bundle.manifest.features.shape
