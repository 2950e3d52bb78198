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
import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_sdk.audit_entries import (
    DIGEST,
    ENTRY_TYPES,
    MAX_COUNT,
    AuditEntry,
    LogRepaired,
    entry_from,
)
from edge_sdk.durable import sync_folder
from edge_sdk.errors import AuditError, InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE_NAME = "audit.log"
MAX_LINE_BYTES = 4096
MAX_AT_MS = 253_402_300_799_999  # the end of year 9999
_START = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One line of the log, verified.

    Attributes:
        seq: Its number, from 1.
        at_ms: When, in ms since 1970 (UTC), by the device's clock.
        entry: What happened.
        digest: Its hash; the head of the chain up to here.
    """

    seq: int
    at_ms: int
    entry: AuditEntry
    digest: str


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
        self._path = Path(home) / FILE_NAME
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
            line, record = self._next_line(file, entry)
            _write_at(file, os.fstat(file).st_size, line)
            return record

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
            line, record = self._next_line(file, entry)
            # one write over the torn line: a crash in between leaves a torn line again
            _write_at(file, end, line)
            return record

    def head(self) -> str:
        """Hash of the last entry, 64 zeros for none; raises AuditError where that one is bad."""
        if not self._path.exists():
            return _START
        with self._locked(create=False) as file:
            last, _ = _tail(file)
            return _START if last is None else _read_last(last).digest

    def records(self) -> tuple[AuditRecord, ...]:
        """The good entries from the start of the log."""
        return self._read()[0]

    def verify(self, *, head: str | None = None) -> AuditReport:
        """Check every entry and the chain.

        Args:
            head: What `head()` gave once; the log must still have that entry.
        """
        records, report = self._read()
        known = {_START, *(record.digest for record in records)}
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
            previous = records[-1].digest if records else _START
            try:
                records.append(_parse(line, seq=number, previous=previous))
            except _BadLineError as error:
                first_bad, reason = number, str(error)
                break
        return tuple(records), AuditReport(
            num_entries=len(records),
            head=records[-1].digest if records else _START,
            first_bad=first_bad,
            reason=reason,
            torn_bytes=len(torn),
        )

    def _next_line(self, file: int, entry: AuditEntry) -> tuple[bytes, AuditRecord]:
        last, _ = _tail(file)
        before = None if last is None else _read_last(last)
        previous, seq = (_START, 1) if before is None else (before.digest, before.seq + 1)
        at_ms = min(max(0, int(self._clock() * 1000)), MAX_AT_MS)
        body = {"at_ms": at_ms, "entry": entry.to_fields(), "kind": entry.KIND, "seq": seq}
        digest = _hash(previous, body)
        line = _canonical({"body": body, "hash": digest, "previous": previous}) + b"\n"
        return line, AuditRecord(seq=seq, at_ms=at_ms, entry=entry, digest=digest)

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


class _BadLineError(Exception):
    """Why a line is not the entry that it should be."""


def _parse(line: bytes, *, seq: int | None, previous: str | None) -> AuditRecord:
    """Read a line; with `seq` and `previous` it must stand there in the chain."""
    content = _decode(line)
    if set(content) != {"body", "hash", "previous"} or not isinstance(content["body"], dict):
        raise _BadLineError("it lacks a part or has another")  # noqa: EM101
    body, digest, before = content["body"], str(content["hash"]), str(content["previous"])
    if not DIGEST.fullmatch(before) or _hash(before, body) != digest:
        raise _BadLineError("its hash does not match it")  # noqa: EM101
    return _check_body(body, digest, before, seq=seq, previous=previous)


def _decode(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line) if len(line) <= MAX_LINE_BYTES else None
        if isinstance(content, dict) and _canonical(content) == line:
            return content
    except (ValueError, RecursionError):  # said below
        pass
    raise _BadLineError("it is not canonical JSON")  # noqa: EM101


def _check_body(
    body: dict[str, Any], digest: str, before: str, *, seq: int | None, previous: str | None
) -> AuditRecord:
    if set(body) != {"at_ms", "entry", "kind", "seq"} or not isinstance(body["entry"], dict):
        raise _BadLineError("it lacks a part or has another")  # noqa: EM101
    limits = {"at_ms": MAX_AT_MS, "seq": MAX_COUNT}
    if any(type(body[k]) is not int or not 0 <= body[k] <= most for k, most in limits.items()):
        raise _BadLineError("its number or time is none")  # noqa: EM101
    if (seq is not None and body["seq"] != seq) or (previous is not None and before != previous):
        raise _BadLineError("it does not follow the entry before it")  # noqa: EM101
    try:
        entry = entry_from(str(body["kind"]), body["entry"])
    except InvalidOptionError as error:
        raise _BadLineError(str(error)) from None
    return AuditRecord(seq=body["seq"], at_ms=body["at_ms"], entry=entry, digest=digest)


def _read_last(line: bytes) -> AuditRecord:
    try:
        return _parse(line, seq=None, previous=None)
    except _BadLineError as error:
        msg = f"the last entry of audit.log is bad ({error}); verify() says more"
        raise AuditError(msg) from None


def _hash(previous: str, body: object) -> str:
    return hashlib.sha256(bytes.fromhex(previous) + _canonical(body)).hexdigest()


def _canonical(value: object) -> bytes:
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii")


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
