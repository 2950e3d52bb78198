"""Personalizer: teach, adapt, predict, forget, update: one user's model on one device.

The personal state is f(bundle, kept examples), so it can be recomputed at any time, and forgetting
is exact (docs/ARCHITECTURE.md section 4).

Fast path: `predict` takes one reference to the state that answers and never waits for a change.
Slow path: `adapt` computes beside it, and a commit swaps the reference (`live_state`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self, TypeVar, overload

from edge_sdk.adapt_job import Adapter
from edge_sdk.arrays import Float32Array, Int64Array, as_examples, as_rows
from edge_sdk.audit_entries import ConsentChanged, EpsilonSpent, JudgementSent
from edge_sdk.drift import DEFAULT_DRIFT
from edge_sdk.engine import Engine
from edge_sdk.errors import InvalidOptionError, NothingTaughtError, ShapeMismatchError
from edge_sdk.events import Status
from edge_sdk.guardrail_rule import DEFAULT_GUARDRAIL
from edge_sdk.judgement import Judgement, judge
from edge_sdk.keys import as_key_store
from edge_sdk.live_state import LiveState
from edge_sdk.options import check_label
from edge_sdk.personal_state import (
    PersonalPrediction,
    PersonalValues,
    answers_right,
    read_prediction,
    slot_names,
    slots_of,
    targets_of,
)
from edge_sdk.shared_update import ShareTerms, settle, share
from edge_sdk.taught_values import RowShape

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from edge_sdk._core import State
    from edge_sdk.adapt_job import AdaptJob, AdaptReport
    from edge_sdk.audit import AuditLog
    from edge_sdk.bundle import Bundle
    from edge_sdk.capacity import Capacity
    from edge_sdk.drift import DriftOptions, DriftReport
    from edge_sdk.events import Event
    from edge_sdk.guardrail_rule import GuardrailOptions
    from edge_sdk.keys import KeyStore
    from edge_sdk.manifest import Task
    from edge_sdk.provider_options import Provider
    from edge_sdk.providers import Placement
    from edge_sdk.shared_update import Residual
    from edge_sdk.store_rows import Example
    from edge_sdk.update import ModelUpdate

T = TypeVar("T")


class Personalizer:
    """One user's model. Use it as a context manager, or call `close`.

    Threads may share one, and processes may share a home: every change is one transaction, so after
    a crash at any moment the store holds the old or the new version. `predict` never waits for
    `adapt`.

    What is damaged in the home is noticed (SHA-256 on every blob) and never stops predictions: the
    state is computed again from the examples, else the generation before answers, else the bundle's
    own state. `status` and the events say so.

    A bundle learns labels (`teach`, `predict`, `feedback`) or values (`teach_values`,
    `predict_values`); what is for the other kind raises `InvalidOptionError`. All else serves both.

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
        guardrail: When an adapted state may answer (docs/GUARD.md). None: always.
        drift: When `feedback` and features in use are taken for drift.
        on_event: Called with each `Event` after it happened, in the thread where it happened.

    Raises:
        BadStateError: The examples in `home` were made with another `embed.onnx`; they stay.
        WrongKeyError: `home` is encrypted with another key, or no key was given; nothing is lost.
        KeyStoreError, MissingExtraError: The key, or what encrypts, cannot be used.
        StoreError: `home` cannot be used.
        InvalidOptionError, BadBundleError, ProviderError, RuntimeLibraryError: As for `Engine`.
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
        guardrail: GuardrailOptions | None = DEFAULT_GUARDRAIL,
        drift: DriftOptions = DEFAULT_DRIFT,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        keys = as_key_store(key)
        self._engine = Engine(bundle, providers=providers, threads=threads)
        self._bundle = self._engine.bundle
        self._rows = RowShape.of(self._bundle.manifest)
        self._capacity = capacity
        self._live = LiveState(
            self._engine,
            home,
            keys=keys,
            drop_damaged=drop_damaged,
            guardrail=guardrail,
            drift=drift,
            listener=on_event,
        )
        self._adapter = Adapter(self._engine, self._live, guardrail)

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
        busy, advice = self._adapter.busy, self._live.watch.advice
        return Status(now.version, now.source, encrypted, now.damage, busy, advice)

    @property
    def audit_log(self) -> AuditLog:
        """What happened in this home: an entry beside each change, hash-chained; never data."""
        return self._live.log

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
    def initial_state(self) -> State:
        """The bundle's own starting state."""
        return self._engine.initial_state()

    @property
    def examples(self) -> tuple[Example, ...]:
        """Id and label, or id and value, of each kept example, in the order taught.

        Raises:
            StoreError: One is damaged.
        """
        with self._live.reading() as kept:
            return kept.examples()

    @property
    def labels(self) -> tuple[str, ...]:
        """What the slots mean, in slot order: the bundle's labels, then the user's own.

        None where the bundle learns values.

        Raises:
            CapacityError: There are more than this bundle has slots; `forget` some, or open the
                home with the bundle they were taught with.
        """
        if self._rows.outputs:
            return ()
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
            InvalidOptionError: The label is not such a string, or the bundle learns values.
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `x` is not such an array.
            CapacityError: Every slot already has a label.
            StoreError: They could not be stored.

        On any error the store is exactly what it was before the call.
        """
        self._check_task("classification", "teach_values")
        name = check_label(label)
        return self._live.teach(name, self._embed(x), self._capacity)

    def teach_values(self, values: object, x: object) -> tuple[int, ...]:
        """Keep examples of what is to be predicted; `adapt` then learns from them.

        As `teach`: what is kept is features and values, in one sealed row an example. `capacity`
        counts all of them together.

        Args:
            values: float32 `[n, outputs]`, finite, or the value of one example `[outputs]`.
            x: float32 `[n, *input.shape]`, n >= 1, or one example `[*input.shape]`.

        Returns:
            The id of each example of `x`, ascending; `examples` tells which of them are kept.

        Raises:
            InvalidOptionError: The bundle learns labels; use `teach`.
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `values` or `x` is not such an
                array, or they have not as many rows.
            StoreError: They could not be stored.

        On any error the store is exactly what it was before the call.
        """
        self._check_task("regression", "teach")
        wanted = as_examples(values, shape=(self._rows.outputs,), name="values")
        features = self._embed(x)
        if len(wanted) != len(features):
            msg = f"values must have {len(features)} rows, one for each of x, got {len(wanted)}"
            raise ShapeMismatchError(msg)
        return self._live.teach("", self._rows.join(features, wanted), self._capacity)

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
        """Adapt the bundle's starting state to all kept examples, and use it if it is good.

        The guardrail judges the result by cross-validation (docs/GUARD.md) and decides whether it
        becomes current, what answers now goes on answering, or the bundle's own state does. The
        report says which, and why.

        Predictions, `teach` and `forget` go on meanwhile; where that changes what was kept at the
        start, or another state becomes current, it starts again on what is kept then.

        Args:
            background: Return an `AdaptJob` at once and adapt in a thread. The state has the same
                bits as without.
            progress: Called after each inner step and each fold of the guardrail with the part
                done, in (0, 1], in the thread that adapts. What it raises stops the adaptation.

        Raises:
            EmptySupportError: Nothing is kept.
            CapacityError: There are more labels than this bundle has slots; `forget` some.
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
            InvalidOptionError: The bundle learns values; use `predict_values`.
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `x` is not such an array.
            StoreError: The store is closed.
        """
        current = self._live.current()
        features, prediction = self._engine.embed_and_predict(x, current.state)
        self._live.watch.offer(features)
        if not current.slots:
            msg = "no label is in use; call teach(), then adapt()"
            raise NothingTaughtError(msg)
        return read_prediction(prediction, current)

    def predict_values(self, x: object) -> PersonalValues:
        """Predict values with the current state, and their variance where the bundle tells it.

        As `predict`: all of the answer comes from one state, and it waits for no change.

        Args:
            x: float32 `[n, *input.shape]`, n >= 1, or one example `[*input.shape]`.

        Raises:
            NothingTaughtError: Nothing is learned yet, neither here nor by the bundle.
            InvalidOptionError: The bundle learns labels; use `predict`.
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `x` is not such an array.
            StoreError: The store is closed.
        """
        current = self._live.current()
        features, found = self._engine.embed_and_predict_values(x, current.state)
        self._live.watch.offer(features)
        if not current.slots:
            msg = "nothing is learned yet; call teach_values(), then adapt()"
            raise NothingTaughtError(msg)
        return PersonalValues(found.mean, found.variance, current.version)

    def feedback(
        self, prediction: PersonalPrediction, correct: bool | str | Sequence[bool | str]
    ) -> DriftReport | None:
        """Say whether answers were right, as the user confirms or corrects them.

        Where errors have become more frequent, the bundle's own state answers from then on, for
        good (if it can answer at all), `status.recommendation` says what to offer, and an event
        tells. What was learned so far stays: `roll_back` returns to it, `adapt` learns again.
        Feedback is durable when this returns. Nothing is learned from it: to correct an answer for
        the next time, `teach` the example.

        Args:
            prediction: What `predict` gave. Where another state answers by now, its feedback says
                nothing about that one and is passed over.
            correct: For each example of the prediction, whether its label was right, or the label
                that would have been; for one example not in a sequence, too.

        Returns:
            What was noticed; None for nothing.

        Raises:
            InvalidOptionError: `prediction` or `correct` is not such a thing, or the bundle learns
                values, which are not right or wrong: `teach_values` what they should have been.
            StoreError: It could not be stored; it then does not count.
        """
        self._check_task("classification", "teach_values")
        right = answers_right(prediction, correct)
        return self._live.feedback(prediction.version, right)

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
            InvalidOptionError: It is neither, or a label, though the bundle learns values.
            UnknownLabelError: No example of the label is kept.
            UnknownExampleError: No such example is kept.
            DivergedError: A loss or the state without it was not finite.
            StoreError: Another kept example is damaged, or the files could not be written. Only
                where the message says that it is forgotten has anything changed: its bytes
                are then still in the write-ahead log, until the next change or opening.

        On any other error the store and the state are exactly what they were before the call.
        """
        is_id = isinstance(what, int) and not isinstance(what, bool)
        if not is_id and self._rows.outputs:
            msg = "values have no label; forget them by the ids that teach_values() gave"
            raise InvalidOptionError(msg)
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
            InvalidOptionError: The bundle learns values; use `support_values`.
            StoreError: An example is damaged.
        """
        self._check_task("classification", "support_values")
        with self._live.reading() as kept:
            examples, features = kept.support()
        return features, slots_of(self._bundle.manifest, examples)

    def support_values(self) -> tuple[Float32Array, Float32Array]:
        """The same of values: features and values float32 `[n, outputs]`.

        Raises:
            InvalidOptionError: The bundle learns labels; use `support`.
            StoreError: An example is damaged.
        """
        self._check_task("regression", "support")
        features, values = self._support()
        return features, as_rows(values, shape=(self._rows.outputs,), name="values")

    def update(
        self,
        clipping_norm: float,
        *,
        start: State | None = None,
        steps: int | None = None,
        consent_id: str | None = None,
        spent: EpsilonSpent | None = None,
    ) -> ModelUpdate:
        """What this device learned, for a federated round: the only thing that may leave it.

        It rests on all that is kept, whichever state answers: what the guardrail holds back for one
        user may still help to find a better start for all. It is in the audit log before this
        returns.

        Args:
            clipping_norm: L2 bound on the whole update.
            start: The state to adapt from, the bundle's by default.
            steps: Inner steps, the bundle's number by default.
            consent_id: The consent under which it leaves, for the audit log.
            spent: The privacy budget that it costs, for the audit log.

        Raises:
            NothingTaughtError: Nothing is kept.
            InvalidOptionError, BadStateError, BadUpdateError, NonFiniteError: As for `make_update`.
            DivergedError: Adapting from `start` was not finite.
            StoreError: It could not be logged; then it does not leave.
        """
        terms = ShareTerms(
            clipping_norm=clipping_norm, steps=steps, consent_id=consent_id, spent=spent
        )
        return self.share(lambda made: (made, None), terms, start=start)

    def share(
        self,
        code: Callable[[ModelUpdate], tuple[T, Residual | None]],
        terms: ShareTerms,
        *,
        start: State | None = None,
        token: str = "",
    ) -> T:
        """As `update`, for an update that leaves in another form: `code` makes it, on the device.

        What coding takes from an update is kept in the store, sealed, and added to the next one
        before clipping (error feedback); `forget` and `erase` take it away. Where examples change
        meanwhile, all is done again with those that are kept then.

        Args:
            code: Returns what leaves, and what that took from the update, float32 by tensor; None
                for the latter carries nothing from one update to the next.
            terms: The bound, and what the audit log says.
            start: The state to adapt from, the bundle's by default.
            token: Where the server says only later whether the update counts, of this one: its
                residual counts after `settle`.

        Raises:
            NothingTaughtError, InvalidOptionError, BadStateError, BadUpdateError, NonFiniteError,
            DivergedError, StoreError: As `update`; and what `code` raises.
        """
        return share(self._engine, self._live, code, terms, start=start, token=token)

    def settle(self, token: str) -> None:
        """The shared update of that token counts: the next one carries its residual.

        Raises:
            StoreError: It could not be stored.
        """
        settle(self._live, token)

    def judge(
        self,
        candidate: State,
        *,
        steps: int | None = None,
        folds: int = 5,
        consent_id: str | None = None,
    ) -> Judgement:
        """How well this user would start from `candidate`, beside the bundle's own start.

        It rests on all that is kept, as `update` does, and changes nothing. It is made to leave the
        device, in a sum over many users, and is in the audit log before this returns.

        Args:
            candidate: The starting state of a candidate bundle with the same graphs.
            steps: Inner steps, the bundle's number by default.
            folds: Parts that the examples are split into, 2 to 100.
            consent_id: The consent under which it leaves, for the audit log.

        Raises:
            NothingTaughtError: No example is kept that could be held out.
            InvalidOptionError, BadStateError: As for `edge_sdk.judgement.judge`.
            StoreError: It could not be logged; then it does not leave.
        """
        features, targets = self._support()
        start = self._engine.initial_state()
        made = judge(self._engine, start, candidate, features, targets, steps=steps, folds=folds)
        digest = self._bundle.digest
        sent = JudgementSent(bundle_digest=digest, num_examples=len(targets), consent_id=consent_id)
        self._live.record([sent])
        return made

    def record_consent(self, consent_id: str, *, granted: bool) -> None:
        """Write down in the audit log that the user gave or took back a consent.

        Args:
            consent_id: The app's id for it: 8..64 lower-case hex digits and dashes, as of a UUID.
            granted: Whether it was given.

        Raises:
            InvalidOptionError: The id is not such a string.
            StoreError: It could not be stored.
        """
        self._live.record([ConsentChanged(consent_id=consent_id, granted=granted)])

    def _embed(self, x: object) -> Float32Array:
        shape = self._bundle.manifest.features.shape
        return as_rows(self._engine.embed(x), shape=shape, name="features")

    def _support(self) -> tuple[Float32Array, Int64Array | Float32Array]:
        with self._live.reading() as kept:
            examples, features = kept.support()
        return features, targets_of(self._bundle.manifest, examples)

    def _check_task(self, task: Task, instead: str) -> None:
        if self._bundle.manifest.task != task:
            msg = f"this bundle does {self._bundle.manifest.task}; use {instead}()"
            raise InvalidOptionError(msg)
