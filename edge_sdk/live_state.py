"""The state that answers and the store behind it: one lock, one swap, one way out for events.

`current` is the fast path: it waits for nothing. All else is the slow path and holds the lock.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge_sdk.errors import (
    EdgeError,
    KeyStoreError,
    StoreDamagedError,
    StoreError,
    UnknownExampleError,
    UnknownLabelError,
)
from edge_sdk.events import Event, EventKind, deliver
from edge_sdk.kept_state import KeptState
from edge_sdk.lost_store import LostStore, destroy_files
from edge_sdk.store import Store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from edge_sdk.engine import Engine
    from edge_sdk.kept_state import Note
    from edge_sdk.keys import KeyStore
    from edge_sdk.personal_state import Current, Fit
    from edge_sdk.store_rows import Example

# How often the fast path asks sqlite whether another process has committed: it takes microseconds.
_LOOK_EVERY_S = 0.02


class LiveState:
    """What `Personalizer` reads and changes. Threads may share it.

    Attributes:
        dropped: Ids of the damaged examples that were deleted at opening.

    Args:
        engine: The bundle.
        home: The folder of the store.
        keys: Where the user's key is; None for a store that is not encrypted.
        drop_damaged: Delete damaged examples now.
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
        listener: Callable[[Event], None] | None,
    ) -> None:
        self._engine, self._home, self._keys, self._listener = engine, home, keys, listener
        self._lock = threading.RLock()
        self._closed = self._scrub_due = self._unreadable = False
        self.dropped: tuple[int, ...] = ()
        self._open()
        try:
            self._restore_at_opening(drop_damaged=drop_damaged)
        except BaseException:
            self.store.close()
            raise

    def close(self) -> None:
        """Close the store; calling it again does nothing."""
        with self._lock:
            self._closed = True
            self.store.close()

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

    # --- changes -------------------------------------------------------------------------------

    @contextmanager
    def changing(self) -> Iterator[KeptState]:
        """One transaction, of one thread at a time."""
        with self._lock:
            if self._scrub_due:
                self._scrub()
            with self._looking_again_after_an_interrupt(), self._kept.transaction():
                yield self._kept

    @contextmanager
    def reading(self) -> Iterator[KeptState]:
        """One consistent version of the store."""
        with self._lock, self._kept.snapshot():
            yield self._kept

    def commit(self, candidate: Fit, examples: Sequence[Example], serving: Current) -> int | None:
        """The one place where a candidate becomes current: stored first, then seen by `current`.

        Args:
            candidate: A state fitted to `examples`.
            examples: All that were kept while `serving` answered.
            serving: What answered then.

        Returns:
            Its version; None, and nothing changed, where it was fitted to what is no longer so.
        """
        with self._lock:
            with self.changing() as kept:
                current = kept.commit(candidate, [e.id for e in examples], serving)
            if current is not None:
                self._publish(current)
        if current is None:
            self.refresh()
            return None
        self._tell([(EventKind.ADAPTED, f"to {len(examples)} examples")])
        return current.version

    def roll_back(self) -> None:
        """As `Personalizer.roll_back`."""
        with self._lock:
            with self.changing() as kept:
                current = kept.roll_back()
            self._publish(current)
        self._tell([(EventKind.ROLLED_BACK, "the generation before is current")])

    def forget(self, what: str | int) -> None:
        """As `Personalizer.forget`, `what` being checked."""
        with self._lock:
            with self.changing() as kept:
                ids = self._ids_of(what)
                self._scrub_due = True
                kept.forget(ids)
                current, notes = kept.restore(keep=True)
            self._publish(current)
            holder = self._scrub()
        self._tell([*notes, (EventKind.FORGOT, "examples and what was learned from them")])
        if holder:
            noun = "label" if isinstance(what, str) else "example"
            raise _bytes_remain(holder, done=f"the {noun} is forgotten")

    def erase(self) -> None:
        """As `Personalizer.erase`."""
        failure: EdgeError | None = None
        with self._lock:
            try:
                with self._looking_again_after_an_interrupt(), self.store.transaction():
                    self._scrub_due = True
                    self.store.erase()
            except StoreDamagedError:
                self._erase_by_force()
            self._publish(self._kept.base())
            holder = self._scrub()
            try:
                self.store.finish_erase()
            except (KeyStoreError, StoreError) as error:
                failure = error
        self._tell([(EventKind.ERASED, "examples and states, and the key that this home had")])
        if holder:
            raise _bytes_remain(holder, done="all is erased")
        if failure is not None:
            raise failure

    def refresh(self) -> None:
        """As `Personalizer.refresh`."""
        with self._lock:
            notes = self._read_again()
        self._tell(notes)

    def look(self) -> None:
        """See what another process has committed, unless a change is under way in this one.

        What goes wrong is told as an event, once: predictions go on with what is in memory.
        """
        if self._closed or not self._lock.acquire(blocking=False):
            return
        notes: Iterable[Note] = ()
        try:
            self._next_look = time.monotonic() + _LOOK_EVERY_S
            notes = self._read_again()
        except EdgeError as error:
            if not self._unreadable:
                notes = ((EventKind.STORE_UNREADABLE, str(error)),)
            self._unreadable = True
        finally:
            self._lock.release()
        self._tell(notes)

    # -------------------------------------------------------------------------------------------

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
        for kind, detail in notes:
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
        self._next_look = 0.0

    def _restore_at_opening(self, *, drop_damaged: bool) -> None:
        notes: Iterable[Note]
        try:
            with self.changing() as kept:
                if drop_damaged:
                    self.dropped = kept.drop_damaged()
                current, notes = kept.restore(keep=True)
            if self.dropped:
                self._scrub()
        except StoreDamagedError as error:
            current = self._kept.base(damage=str(error), lost=True)
            notes = ((EventKind.FELL_BACK, "to the bundle's own starting state"),)
        self._publish(current)
        self._tell(notes)

    def _erase_by_force(self) -> None:
        """Erase a store that cannot be read: the key first, for the files are unreadable anyway."""
        self.store.close()
        if self._keys is not None:
            self._keys.delete()
        destroy_files(self._home)
        self._open()

    def _ids_of(self, what: str | int) -> tuple[int, ...]:
        examples = self.store.examples
        if isinstance(what, int):
            if what not in examples.ids(kept=True):
                msg = f"no example {what} is kept"
                raise UnknownExampleError(msg)
            return (what,)
        ids = examples.ids_of(what)
        if not set(ids) & set(examples.ids(kept=True)):
            msg = "this label was never taught here, or has been forgotten"
            raise UnknownLabelError(msg)
        return ids

    def _scrub(self) -> str:
        """Make deleted bytes leave the files; where they do not, says why, and it is due again."""
        holder = "a reader keeps"
        try:
            self._scrub_due = not self.store.scrub()
        except StoreError as error:
            self._scrub_due, holder = True, f"{error}; that keeps"
        return holder if self._scrub_due else ""

    def _read_again(self) -> Iterable[Note]:
        """Restore the state if another process has committed; what is to be told about it."""
        count = self.store.change_count()
        if count == self._seen:
            return ()
        with self.reading() as kept:
            current, notes = kept.restore(keep=False)
        self._seen, self._unreadable = count, False
        self._publish(current)
        return notes


def _bytes_remain(holder: str, *, done: str) -> StoreError:
    return StoreError(
        f"{done}, but {holder} its bytes in the write-ahead log; they leave it at the next change "
        "or opening"
    )
