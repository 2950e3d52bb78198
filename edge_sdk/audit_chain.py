"""The chain of the audit log: how an entry becomes a line, and a line an entry. No files.

The format is in `edge_sdk.audit`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_sdk.audit_entries import DIGEST, MAX_COUNT, AuditEntry, entry_from
from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LINE_BYTES = 4096
MAX_AT_MS = 253_402_300_799_999  # the end of year 9999
START = "0" * 64


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


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """What the next line follows: number and hash of the line before it."""

    seq: int = 0
    digest: str = START


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line of the log, made but not necessarily written.

    Attributes:
        data: Its bytes, newline included.
        previous: The hash of the line that it follows.
        record: What it says.
    """

    data: bytes
    previous: str
    record: AuditRecord

    @property
    def end(self) -> ChainEnd:
        """What the next line follows."""
        return ChainEnd(self.record.seq, self.record.digest)


def make_line(entry: AuditEntry, *, at_ms: int, after: ChainEnd) -> AuditLine:
    """The line of an entry that follows `after`; `at_ms` is cut to what the format can hold."""
    at_ms, seq = min(max(0, at_ms), MAX_AT_MS), after.seq + 1
    body = {"at_ms": at_ms, "entry": entry.to_fields(), "kind": entry.KIND, "seq": seq}
    digest = chain_hash(after.digest, body)
    data = canonical({"body": body, "hash": digest, "previous": after.digest}) + b"\n"
    record = AuditRecord(seq=seq, at_ms=at_ms, entry=entry, digest=digest)
    return AuditLine(data, after.digest, record)


def read_line(data: bytes) -> AuditLine:
    """Take back the bytes of `AuditLine.data`.

    Raises:
        BadLineError: They are not a good line.
    """
    if not data.endswith(b"\n"):
        raise BadLineError("it has no end")  # noqa: EM101
    record = parse_line(data[:-1], seq=None, previous=None)
    return AuditLine(data, str(json.loads(data)["previous"]), record)


def chained(records: Iterable[tuple[AuditEntry, int]], *, after: ChainEnd) -> list[AuditLine]:
    """Lines of entries and their times (ms since 1970), each after the one before."""
    lines: list[AuditLine] = []
    for entry, at_ms in records:
        lines.append(make_line(entry, at_ms=at_ms, after=lines[-1].end if lines else after))
    return lines


class BadLineError(Exception):
    """Why a line is not the entry that it should be."""


def parse_line(line: bytes, *, seq: int | None, previous: str | None) -> AuditRecord:
    """Read a line; with `seq` and `previous` it must stand there in the chain."""
    content = _decode(line)
    if set(content) != {"body", "hash", "previous"} or not isinstance(content["body"], dict):
        raise BadLineError("it lacks a part or has another")  # noqa: EM101
    body, digest, before = content["body"], str(content["hash"]), str(content["previous"])
    if not DIGEST.fullmatch(before) or chain_hash(before, body) != digest:
        raise BadLineError("its hash does not match it")  # noqa: EM101
    return _check_body(body, digest, before, seq=seq, previous=previous)


def _decode(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line) if len(line) <= MAX_LINE_BYTES else None
        if isinstance(content, dict) and canonical(content) == line:
            return content
    except (ValueError, RecursionError):  # said below
        pass
    raise BadLineError("it is not canonical JSON")  # noqa: EM101


def _check_body(
    body: dict[str, Any], digest: str, before: str, *, seq: int | None, previous: str | None
) -> AuditRecord:
    if set(body) != {"at_ms", "entry", "kind", "seq"} or not isinstance(body["entry"], dict):
        raise BadLineError("it lacks a part or has another")  # noqa: EM101
    limits = {"at_ms": MAX_AT_MS, "seq": MAX_COUNT}
    if any(type(body[k]) is not int or not 0 <= body[k] <= most for k, most in limits.items()):
        raise BadLineError("its number or time is none")  # noqa: EM101
    if (seq is not None and body["seq"] != seq) or (previous is not None and before != previous):
        raise BadLineError("it does not follow the entry before it")  # noqa: EM101
    try:
        entry = entry_from(str(body["kind"]), body["entry"])
    except InvalidOptionError as error:
        raise BadLineError(str(error)) from None
    return AuditRecord(seq=body["seq"], at_ms=body["at_ms"], entry=entry, digest=digest)


def chain_hash(previous: str, body: object) -> str:
    """SHA-256 (hex) over the hash of the line before and a body."""
    return hashlib.sha256(bytes.fromhex(previous) + canonical(body)).hexdigest()


def canonical(value: object) -> bytes:
    """JSON with sorted keys, no spaces, ASCII."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii")
