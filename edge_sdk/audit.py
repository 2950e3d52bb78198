"""The audit log: what happened to a user's model, in a file that is only appended to, hash-chained.

`audit.log`, one line an entry, each a canonical JSON object (sorted keys, no spaces, ASCII):

    {"body": {"at_ms": .., "entry": {..}, "kind": "..", "seq": n}, "hash": "..", "previous": ".."}

`seq` counts from 1; `previous` is the hash of the line before, 64 zeros in the first; `hash` is the
SHA-256 of the 32 bytes of `previous` followed by the canonical JSON of `body`.

A change, swap or loss of entries within the log is noticed. The chain has no secret, so whoever can
rewrite the whole file, or cut lines off its end, can make another valid log: to notice that as
well, keep `head()` elsewhere and give it to `verify`.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk.audit_chain import (
    MAX_LINE_BYTES,
    START,
    AuditLine,
    AuditRecord,
    BadLineError,
    ChainEnd,
    make_line,
    parse_line,
)
from edge_sdk.audit_entries import ENTRY_TYPES, AuditEntry, LogRepaired
from edge_sdk.durable import sync_folder
from edge_sdk.errors import AuditError, InvalidOptionError
from edge_sdk.paths import as_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

FILE_NAME = "audit.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What `verify` found.

    Attributes:
        num_entries: Good entries from the start of the log.
        head: Hash of the last of them; 64 zeros for none.
        first_bad: Number of the first bad entry, from 1; None where all are good.
        reason: What is wrong with it; empty where all are good.
        torn_bytes: Length of a last line that was never finished: a crash, which `repair` mends.
    """

    num_entries: int
    head: str
    first_bad: int | None
    reason: str
    torn_bytes: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.first_bad is None and self.torn_bytes == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the file stands to lines that were planned elsewhere, to be in it once each.

    Attributes:
        missing: Those that are not in the file.
        end: What the next line of the file follows; None where its last line is bad.
        gap: Whether what the planned lines follow is not in the file: it has lost entries.
        torn: Length of a torn last line that is not the beginning of a missing one.
    """

    missing: tuple[AuditLine, ...]
    end: ChainEnd | None
    gap: bool
    torn: int


class AuditLog:
    """The log of one home folder. Threads and processes may share it: each call locks the file.

    Args:
        home: The user's folder; the log appears with its first entry.
        clock: Seconds since 1970.

    Raises:
        AuditError: From every method, when the file cannot be used.
    """

    def __init__(
        self, home: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = as_path(home, name="home") / FILE_NAME
        self._clock = clock

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def append(self, entry: AuditEntry) -> AuditRecord:
        """Add one entry; when this returns it is on the disk.

        Raises:
            InvalidOptionError: `entry` is no `AuditEntry`.
            AuditError: The last line is torn (call `repair`) or bad, or writing failed; the log is
                then what it was before the call.
        """
        if type(entry) not in ENTRY_TYPES:
            msg = f"entry must be one of audit_entries.ENTRY_TYPES, got {type(entry).__name__}"
            raise InvalidOptionError(msg)
        with self._locked(create=True) as file:
            if _tail(file)[1]:
                msg = "the last line of audit.log is torn, as by a crash; call repair() first"
                raise AuditError(msg)
            line = self._next_line(file, entry)
            _write_at(file, os.fstat(file).st_size, line.data)
            return line.record

    def repair(self) -> AuditRecord | None:
        """Cut off a torn last line and record that; None where the log is not torn.

        Raises:
            AuditError: The last whole line is bad: that is no crash, and is not mended.
        """
        if not self._path.exists():
            return None
        with self._locked(create=False) as file:
            torn = _tail(file)[1]
            if not torn:
                return None
            end = os.fstat(file).st_size - len(torn)
            entry = LogRepaired(
                num_bytes=len(torn), removed_digest=hashlib.sha256(torn).hexdigest()
            )
            line = self._next_line(file, entry)
            # one write over the torn line: a crash in between leaves a torn line again
            _write_at(file, end, line.data)
            return line.record

    def head(self) -> str:
        """Hash of the last entry, 64 zeros for none; raises AuditError where that one is bad."""
        if not self._path.exists():
            return START
        with self._locked(create=False) as file:
            last, _ = _tail(file)
            return START if last is None else _read_last(last).digest

    def records(self) -> tuple[AuditRecord, ...]:
        """The good entries from the start of the log."""
        return self._read()[0]

    def verify(self, *, head: str | None = None) -> AuditReport:
        """Check every entry and the chain.

        Args:
            head: What `head()` gave once; the log must still have that entry.
        """
        records, report = self._read()
        known = {START, *(record.digest for record in records)}
        if head is None or head in known or report.first_bad is not None:
            return report
        return AuditReport(
            num_entries=report.num_entries,
            head=report.head,
            first_bad=report.num_entries + 1,
            reason="the entry with the given head is missing",
            torn_bytes=report.torn_bytes,
        )

    def _read(self) -> tuple[tuple[AuditRecord, ...], AuditReport]:
        data = b""
        if self._path.exists():
            with self._locked(create=False) as file:
                data = _read_range(file, 0, os.fstat(file).st_size)
        whole, newline, torn = data.rpartition(b"\n")
        lines = whole.split(b"\n") if newline else []
        records: list[AuditRecord] = []
        first_bad, reason = None, ""
        for number, line in enumerate(lines, start=1):
            previous = records[-1].digest if records else START
            try:
                records.append(parse_line(line, seq=number, previous=previous))
            except BadLineError as error:
                first_bad, reason = number, str(error)
                break
        return tuple(records), AuditReport(
            num_entries=len(records),
            head=records[-1].digest if records else START,
            first_bad=first_bad,
            reason=reason,
            torn_bytes=len(torn),
        )

    def now_ms(self) -> int:
        """The time by the log's clock, in ms since 1970."""
        return int(self._clock() * 1000)

    def standing(self, planned: Sequence[AuditLine]) -> Standing:
        """How the file stands to planned lines, each of which follows the one before it."""
        if not self._path.exists():
            return _standing(None, planned)
        with self._locked(create=False) as file:
            return _standing(file, planned)

    def write_planned(self, planned: Sequence[AuditLine], *, force: bool = False) -> bool:
        """Add those planned lines that are not in the file yet; then they are on the disk.

        Args:
            planned: Lines, each of which follows the one before it.
            force: Add them even where they do not follow the last line of the file; `verify` then
                names the place. For a file that has lost entries.

        Returns:
            False, and nothing is added, where they do not follow the last line of the file.
        """
        with self._locked(create=True) as file:
            found = _standing(file, planned)
            if not found.missing:
                return True
            follows = found.end is not None and found.missing[0].previous == found.end.digest
            if found.torn or not (follows or force):
                return False
            end = os.fstat(file).st_size - len(_tail(file)[1])
            _write_at(file, end, b"".join(line.data for line in found.missing))
            return True

    def _next_line(self, file: int, entry: AuditEntry) -> AuditLine:
        last, _ = _tail(file)
        after = ChainEnd() if last is None else _read_last(last)
        return make_line(entry, at_ms=self.now_ms(), after=after)

    @contextmanager
    def _locked(self, *, create: bool) -> Iterator[int]:
        """The file, open and locked against other threads and processes."""
        import fcntl  # noqa: PLC0415  (POSIX alone has it; the package imports without)

        try:
            new = create and not self._path.exists()
            if create:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
            file = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if new:
                    sync_folder(self._path.parent)
                yield file
            finally:
                os.close(file)
        except AuditError:
            raise
        except OSError as error:
            msg = f"audit.log cannot be used: {error.strerror}"
            raise AuditError(msg) from error


def _read_last(line: bytes) -> ChainEnd:
    try:
        record = parse_line(line, seq=None, previous=None)
        return ChainEnd(record.seq, record.digest)
    except BadLineError as error:
        msg = f"the last entry of audit.log is bad ({error}); verify() says more"
        raise AuditError(msg) from None


def _standing(file: int | None, planned: Sequence[AuditLine]) -> Standing:
    last, torn = (None, b"") if file is None else _tail(file)
    try:
        end = ChainEnd() if last is None else _read_last(last)
    except AuditError:
        end = None
    missing, gap = tuple(planned), False
    follows = end is not None and bool(planned) and planned[0].previous == end.digest
    if planned and not follows:
        data = b"" if file is None else _read_range(file, 0, os.fstat(file).st_size)
        written = set(data.splitlines(keepends=True))
        present = [number for number, line in enumerate(planned, 1) if line.data in written]
        missing = missing[max(present, default=0) :]
        before = planned[0].previous
        gap = not present and before != START and f'"hash":"{before}"'.encode("ascii") not in data
    ours = bool(missing) and missing[0].data.startswith(torn)
    return Standing(missing=missing, end=end, gap=gap, torn=0 if ours else len(torn))


def _tail(file: int) -> tuple[bytes | None, bytes]:
    """The last whole line, without its newline (None where there is none), and what follows it."""
    size = os.fstat(file).st_size
    data = b""
    while len(data) < size and data.count(b"\n") < 2:
        begin = max(0, size - len(data) - MAX_LINE_BYTES)
        data = _read_range(file, begin, size - len(data)) + data
    whole, newline, torn = data.rpartition(b"\n")
    return (whole.rpartition(b"\n")[2] if newline else None), torn


def _read_range(file: int, begin: int, end: int) -> bytes:
    parts = []
    while begin < end:
        part = os.pread(file, end - begin, begin)
        if not part:
            break
        parts.append(part)
        begin += len(part)
    return b"".join(parts)


def _write_at(file: int, offset: int, line: bytes) -> None:
    """Write a last line and wait for the disk; where that fails, leave none of it."""
    kept = _read_range(file, offset, os.fstat(file).st_size)
    try:
        written = 0
        while written < len(line):
            written += os.pwrite(file, line[written:], offset + written)
        os.ftruncate(file, offset + len(line))
        os.fsync(file)
    except OSError:
        os.ftruncate(file, offset)
        if kept:
            os.pwrite(file, kept, offset)
        raise
