"""What answers now, and the store behind it: one lock, one swap, one way out for events.

`current` is the fast path: it waits for nothing. All else is the slow path and holds the lock. The
changes themselves are in `live_state`.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.audit import AuditLog
from edge_sdk.audit_entries import BundleOpened, Recovered
from edge_sdk.audit_journal import AuditJournal
from edge_sdk.drift_watch import DriftWatch
from edge_sdk.errors import AuditError, CapacityError, EdgeError, StoreDamagedError, StoreError
from edge_sdk.events import Event, EventKind, Source, deliver
from edge_sdk.guardrail_rule import Serve
from edge_sdk.kept_state import KeptState
from edge_sdk.lost_store import LostStore
from edge_sdk.outcome import drift_entry, entry_of, judge_again
from edge_sdk.personal_state import slots_of, targets_of
from edge_sdk.store import Store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from edge_sdk.arrays import Float32Array, Int64Array
    from edge_sdk.audit_entries import AuditEntry
    from edge_sdk.drift import DriftOptions
    from edge_sdk.engine import Engine
    from edge_sdk.guardrail_rule import GuardrailOptions
    from edge_sdk.kept_state import Note
    from edge_sdk.keys import KeyStore
    from edge_sdk.personal_state import Current

# How often the fast path asks sqlite whether another process has committed: it takes microseconds.
_LOOK_EVERY_S = 0.02
_BUNDLE = "bundle"


class LiveStore:
    """What `LiveState` changes. Threads may share it.

    Attributes:
        dropped: Ids of the damaged examples that were deleted at opening.
        log: The audit log.

    Args:
        engine: The bundle.
        home: The folder of the store.
        keys: Where the user's key is; None for a store that is not encrypted.
        drop_damaged: Delete damaged examples now.
        guardrail: When a state may answer under another bundle than it was made with; None: always.
        drift: When drift is noticed.
        listener: Called with each event.

    Raises:
        As `Personalizer`.
    """

    def __init__(
        self,
        engine: Engine,
        home: str | os.PathLike[str],
        *,
        keys: KeyStore | None,
        drop_damaged: bool,
        guardrail: GuardrailOptions | None,
        drift: DriftOptions,
        listener: Callable[[Event], None] | None,
    ) -> None:
        self._engine, self._home, self._keys, self._listener = engine, home, keys, listener
        self._guardrail = guardrail
        self._lock = threading.RLock()
        self._closed = self._scrub_due = self._unreadable = self._watch_stale = False
        self._untold: list[Note] = []
        self.dropped: tuple[int, ...] = ()
        self.log = AuditLog(home)
        self._watch = DriftWatch(drift)
        self._open()
        try:
            self._restore_at_opening(drop_damaged=drop_damaged)
        except BaseException:
            self.store.close()
            raise

    def close(self) -> None:
        """Keep what drift detection has seen and close the store; a second call does nothing."""
        with self._lock:
            if not self._closed and (self._watch.unsaved or self._journal.waiting):
                try:
                    with self.changing():
                        pass
                except EdgeError as error:
                    self._untold.append((EventKind.WATCH_RESET, str(error)))
            self._closed = True
            self.store.close()
        self._tell(())

    # --- the fast path -------------------------------------------------------------------------

    def current(self) -> Current:
        """What answers now: one reference, so always one whole state.

        It waits for no lock and no change. At most every 20 ms, and if no change is under way in
        this process, it asks sqlite whether another process has committed.

        Raises:
            StoreError: It is closed.
        """
        if time.monotonic() >= self._next_look:
            self.look()
        if self._closed:
            self.store.database()  # raises
        return self._current

    def seen(self) -> Current:
        """What answers now, without a look at the store."""
        return self._current

    @property
    def watch(self) -> DriftWatch:
        """What watches for drift; the fast path may only `offer`."""
        return self._watch

    def look(self) -> None:
        """See what another process has committed, unless a change is under way in this one.

        Also where features in use are compared with those that were taught. What goes wrong is told
        as an event, once: predictions go on with what is in memory.
        """
        if self._closed or not self._lock.acquire(blocking=False):
            return
        notes: Iterable[Note] = ()
        try:
            self._next_look = time.monotonic() + _LOOK_EVERY_S
            notes = (*self._read_again(), *self._examine())
        except EdgeError as error:
            if not self._unreadable:
                notes = ((EventKind.STORE_UNREADABLE, str(error)),)
            self._unreadable = True
        finally:
            self._lock.release()
        if notes:
            self._tell(notes)

    # --- the slow path -------------------------------------------------------------------------

    @contextmanager
    def changing(self, *, save_scores: bool = True) -> Iterator[KeptState]:
        """One transaction, of one thread at a time, with its entries in the audit log."""
        with self._lock:
            if self._scrub_due:
                self._scrub()
            with self._recorded(), self._kept.transaction():
                if self._watch_stale:
                    self._load_watch(self._kept, self._current)
                yield self._kept
                if save_scores and self._watch.unsaved:
                    self._watch.save(self.store.memory, scores=True)
                self._journal.plan()

    @contextmanager
    def reading(self) -> Iterator[KeptState]:
        """One consistent version of the store."""
        with self._lock, self._kept.snapshot():
            yield self._kept

    def refresh(self) -> None:
        """As `Personalizer.refresh`."""
        with self._lock:
            notes = self._read_again()
        self._tell(notes)

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """A transaction whose entries reach the audit log when it has committed, and only then."""
        with self._looking_again_after_an_interrupt():
            try:
                yield
            except BaseException:
                self._journal.end(committed=False)
                self._watch_stale = True
                raise
            self._journal.end(committed=True)
            failure = self._journal.flush()
        if failure:
            self._untold.append((EventKind.AUDIT_FAILED, failure))

    @contextmanager
    def _looking_again_after_an_interrupt(self) -> Iterator[None]:
        """An interrupt may come after the commit: what is in memory is then no longer so."""
        try:
            yield
        except EdgeError:
            raise
        except BaseException:
            self._seen, self._next_look = -1, 0.0
            raise

    def _publish(self, current: Current) -> None:
        """The one place where what answers is swapped."""
        self._current = current

    def _tell(self, notes: Iterable[Note]) -> None:
        """The one place where events leave, after what they tell of and outside its lock."""
        untold, self._untold = self._untold, []
        for kind, detail in (*notes, *untold):
            deliver(self._listener, Event(kind, self._current.version, detail))

    def _open(self) -> None:
        """Open the store, or stand in for one that is too damaged to be opened."""
        self._seen = 0
        try:
            self.store = Store(self._home, keys=self._keys)
            self._seen = self.store.change_count()
        except StoreDamagedError as error:
            self.store = LostStore(error, encrypted=self._keys is not None)
        self._kept = KeptState(self._engine, self.store)
        self._journal = AuditJournal(self.store, self.log)
        self._next_look = 0.0

    def _restore_at_opening(self, *, drop_damaged: bool) -> None:
        notes: tuple[Note, ...]
        try:
            with self.changing() as kept:
                if drop_damaged:
                    self.dropped = kept.drop_damaged()
                current, notes = kept.restore(keep=True)
                self._load_watch(kept, current)
                if self._note_bundle(current):
                    current, notes = self._judge_again(kept, current, notes)
                self._note_recovery(current, notes)
            if self.dropped:
                self._scrub()
        except StoreDamagedError as error:
            current = self._kept.base(damage=str(error), lost=True)
            notes = ((EventKind.FELL_BACK, "to the bundle's own starting state"),)
            self._append(Recovered(serve="base", num_lost=0))
        self._publish(current)
        self._tell(notes)

    def _judge_again(
        self, kept: KeptState, current: Current, notes: tuple[Note, ...]
    ) -> tuple[Current, tuple[Note, ...]]:
        """What answers under another bundle: the state, computed again, while it holds its own."""
        _, slots = self._adapted(kept, current)
        if self._guardrail is None or not len(slots):
            return current, notes
        bundle = self._engine.bundle
        examples, features = kept.adapted(current.version)
        targets = targets_of(bundle.manifest, examples)
        report = judge_again(self._engine, features, targets, current.state, self._guardrail)
        num_labels = len(set(slots.tolist()))
        self._journal.add(entry_of(bundle.digest, len(slots), num_labels, report))
        if report.serve is not Serve.BASE:
            return current, notes
        base = kept.fall_back(current)
        self._watch.compare_with(*self._adapted(kept, base))
        return base, (*notes, (EventKind.REVERTED, f"{report.reason} under another bundle"))

    def _note_bundle(self, current: Current) -> bool:
        """Log a bundle that this home was not opened with last time; whether it was another one."""
        memory, bundle = self.store.memory, self._engine.bundle
        try:
            last = memory.get(_BUNDLE)
        except StoreDamagedError:
            last = None
        if last == bundle.digest:
            return False
        self._journal.add(
            BundleOpened(bundle_digest=bundle.digest, bundle_version=bundle.manifest.version)
        )
        memory.set(_BUNDLE, bundle.digest)
        if last is not None:  # its errors and its advice were another model's
            self._watch.reset()
            self._watch.compare_with(*self._adapted(self._kept, current))
            self._watch.save(memory, scores=True)
        return last is not None

    def _note_recovery(self, current: Current, notes: Iterable[Note]) -> None:
        fell_back = any(kind is EventKind.FELL_BACK for kind, _ in notes)
        if fell_back or self.dropped:
            words = {Source.CURRENT: "current", Source.PREVIOUS: "previous_generation"}
            serve = words.get(current.source, "base")
            self._journal.add(Recovered(serve=serve, num_lost=len(self.dropped)))

    def _load_watch(self, kept: KeptState, current: Current) -> None:
        damage = self._watch.load(self.store.memory)
        if damage:
            self._untold.append((EventKind.WATCH_RESET, damage))
        self._watch.compare_with(*self._adapted(kept, current))
        self._watch_stale = False

    def _adapted(self, kept: KeptState, current: Current) -> tuple[Float32Array, Int64Array]:
        """What a state was adapted on; nothing, where that cannot be known."""
        manifest = self._engine.bundle.manifest
        try:
            examples, features = kept.adapted(current.version)
            return features, slots_of(manifest, examples)
        except (CapacityError, StoreDamagedError):
            return np.zeros((0, *manifest.features.shape), np.float32), np.zeros(0, np.int64)

    def _append(self, entry: AuditEntry) -> None:
        """Add an entry where there is no store to commit it with."""
        try:
            self.log.repair()
            self.log.append(entry)
        except AuditError as error:
            self._untold.append((EventKind.AUDIT_FAILED, str(error)))

    def _scrub(self) -> str:
        """Make deleted bytes leave the files; where they do not, says why, and it is due again."""
        holder = "a reader keeps"
        try:
            self._scrub_due = not self.store.scrub()
        except StoreError as error:
            self._scrub_due, holder = True, f"{error}; that keeps"
        return holder if self._scrub_due else ""

    def _read_again(self) -> tuple[Note, ...]:
        """Restore the state if another process has committed; what is to be told about it."""
        count = self.store.change_count()
        if count == self._seen:
            return ()
        with self.reading() as kept:
            current, notes = kept.restore(keep=False)
            self._load_watch(kept, current)
        self._seen, self._unreadable = count, False
        self._publish(current)
        return notes

    def _examine(self) -> tuple[Note, ...]:
        """Look for a shift of features; its entry and advice are kept with the next change.

        The state goes on answering: that inputs look different does not show that it is worse.
        """
        report = self._watch.examine()
        if report is None:
            return ()
        self._journal.add_later(drift_entry(report, fell_back=False))
        return ((EventKind.DRIFTED, f"{report.signal}: {report.advice}"),)
