"""Entries of the audit log that are committed with the change they tell of: both or neither.

The log is a file and the store a database, so no single write commits to both. An entry is made
whole (number, hash of the entry before, its own hash) and stored by the transaction of the change;
after the commit its line is written to the file. After a crash in between, the next transaction
finds in the store which line is missing and writes that very line: none is lost, none comes twice.
The store also keeps the last line that was written, so that a file whose end was cut off is
noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk.audit_chain import BadLineError, ChainEnd, chained, read_line
from edge_sdk.errors import AuditError, EdgeError

if TYPE_CHECKING:
    from edge_sdk.audit import AuditLog, Standing
    from edge_sdk.audit_chain import AuditLine
    from edge_sdk.audit_entries import AuditEntry
    from edge_sdk.store import Store

_MAX_TRIES = 5
_LOST = (
    "audit.log has lost entries or was changed, which stays to be seen in it; later entries are "
    "added after the gap (edge-sdk log HOME shows where)"
)


class AuditJournal:
    """The entries of one home. Not thread-safe: its owner holds a lock.

    Args:
        store: Keeps lines that are not in the file yet.
        log: The file.
    """

    def __init__(self, store: Store, log: AuditLog) -> None:
        self._store, self._log = store, log
        self._new: list[tuple[AuditEntry, int]] = []
        self._later: list[tuple[AuditEntry, int]] = []
        self._lines: tuple[AuditLine, ...] = ()
        self._force = self._lost_told = False

    def add(self, entry: AuditEntry) -> None:
        """Note what the transaction under way does."""
        self._new.append((entry, self._log.now_ms()))

    def add_later(self, entry: AuditEntry) -> None:
        """Note what happened outside a transaction: the next one that commits takes it along."""
        self._later.append((entry, self._log.now_ms()))

    @property
    def waiting(self) -> bool:
        """Whether something was added for the next transaction."""
        return bool(self._later)

    def plan(self) -> None:
        """Make lines of what was added and store them: the last thing in the transaction.

        Lines that an earlier crash left out of the file are planned with them.
        """
        rows, damaged = self._rows()
        new = [*self._later, *self._new]
        if not rows and not new and not damaged:
            return
        found = self._standing(rows)
        self._force = found is not None and (found.gap or found.end is None)
        missing = rows if found is None else found.missing
        if found is not None and found.end is not None and not found.gap:
            after = found.end
            if missing and missing[0].previous != after.digest:  # the app added entries meanwhile
                again = [(line.record.entry, line.record.at_ms) for line in missing]
                missing = tuple(chained(again, after=after))
        else:
            after = rows[-1].end if rows else ChainEnd()
        if missing:
            after = missing[-1].end
        if damaged > after.seq:  # it never reached the file: its number stays free there
            after, self._force = ChainEnd(damaged, after.digest), True
        made = chained(new, after=after)
        self._lines = (*missing, *made)
        left = self._lines or rows[-1:]
        if left and (left != rows or damaged):
            self._store.outbox.replace((line.record.seq, line.data) for line in left)

    def end(self, *, committed: bool) -> None:
        """The transaction is over; `flush` must follow a commit."""
        self._new = []
        if committed:
            self._later = []
        else:
            self._lines = ()

    def flush(self) -> str:
        """Write planned lines to the file, after the commit.

        Returns:
            What went wrong, empty for nothing. Lines that are not written are committed all the
            same: the next change or opening writes them.
        """
        try:
            for _ in range(_MAX_TRIES):
                if not self._lines or self._log.write_planned(self._lines, force=self._force):
                    self._lines = ()
                    break
                with self._store.transaction():  # something else was appended after the plan
                    self.plan()
            else:
                return "audit.log changes all the time; its entries wait in the store"
        except EdgeError as error:
            return f"{error}; entries wait in the store"
        if self._force and not self._lost_told:
            self._lost_told = True
            return _LOST
        return ""

    def _standing(self, rows: tuple[AuditLine, ...]) -> Standing | None:
        """None where the file cannot be read."""
        try:
            found = self._log.standing(rows)
            if found.torn:
                self._log.repair()
                found = self._log.standing(rows)
        except AuditError:
            return None
        return found

    def _rows(self) -> tuple[tuple[AuditLine, ...], int]:
        """Stored lines, and the number of the last one that is damaged, 0 for none."""
        lines, damaged = [], 0
        for seq, data in self._store.outbox.lines():
            try:
                lines.append(read_line(data))
            except BadLineError:
                damaged = seq
        return tuple(lines), damaged
