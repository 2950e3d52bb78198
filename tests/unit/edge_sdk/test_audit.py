from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from edge_sdk import audit
from edge_sdk.audit import AuditLog, AuditReport
from edge_sdk.audit_entries import AuditEntry, Erased, LogRepaired, Taught
from edge_sdk.errors import AuditError, InvalidOptionError
from tests.support.audit_entries import ENTRIES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def ticking() -> Callable[[], float]:
    times = iter(range(1_700_000_000, 1_800_000_000))
    return lambda: float(next(times))


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """A log with one entry of each kind that the library writes in a user's life."""
    made = AuditLog(tmp_path / "home", clock=ticking())
    for entry in ENTRIES:
        made.append(entry)
    return made


def lines(log: AuditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def test_what_was_appended_is_read_back_and_verifies(log: AuditLog) -> None:
    records = log.records()
    assert tuple(record.entry for record in records) == ENTRIES
    assert [record.seq for record in records] == list(range(1, len(ENTRIES) + 1))
    assert records[0].at_ms == 1_700_000_000_000
    assert log.verify() == AuditReport(
        num_entries=len(ENTRIES),
        head=records[-1].digest,
        first_bad=None,
        reason="",
        torn_bytes=0,
    )
    assert log.verify().ok
    assert log.head() == records[-1].digest


def test_the_chain_is_what_the_format_says(log: AuditLog) -> None:
    previous = "0" * 64
    for line in lines(log):
        content = json.loads(line)
        body = json.dumps(content["body"], sort_keys=True, separators=(",", ":")).encode()
        assert content["previous"] == previous
        previous = hashlib.sha256(bytes.fromhex(previous) + body).hexdigest()
        assert content["hash"] == previous
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        assert line == canonical.encode() + b"\n"


def test_there_is_no_log_before_the_first_entry(tmp_path: Path) -> None:
    empty = AuditLog(tmp_path / "home")
    assert empty.head() == "0" * 64
    assert empty.records() == ()
    assert empty.verify().ok
    assert empty.repair() is None
    assert not (tmp_path / "home").exists()


def test_only_this_user_can_read_it(log: AuditLog) -> None:
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_each_flipped_byte_is_noticed_where_it_is(log: AuditLog) -> None:
    whole = log.path.read_bytes()
    number = 1
    for place, byte in enumerate(whole):
        log.path.write_bytes(whole[:place] + bytes([byte ^ 1]) + whole[place + 1 :])
        report = log.verify()
        assert not report.ok, place
        if byte != ord("\n"):
            assert report.first_bad == number, place
        number += byte == ord("\n")


def test_each_truncation_within_a_line_is_noticed(log: AuditLog) -> None:
    whole = log.path.read_bytes()
    for size in range(len(whole)):
        log.path.write_bytes(whole[:size])
        report = log.verify()
        assert report.first_bad is None
        assert report.ok == (size == 0 or whole[size - 1 : size] == b"\n")
        assert report.num_entries == whole[:size].count(b"\n")


def test_lines_cut_off_the_end_are_noticed_by_a_noted_head(log: AuditLog) -> None:
    head = log.head()
    log.path.write_bytes(b"".join(lines(log)[:-1]))
    assert log.verify().ok  # a chain cannot notice this by itself
    report = log.verify(head=head)
    assert report.first_bad == len(ENTRIES)
    assert "head" in report.reason


def test_an_older_head_still_holds_after_more_entries(log: AuditLog) -> None:
    head = log.head()
    log.append(Erased(num_examples=0))
    assert log.verify(head=head).ok


@pytest.mark.parametrize("change", ["drop", "swap", "repeat", "insert"])
def test_lines_moved_about_are_noticed_at_the_first(log: AuditLog, change: str) -> None:
    changed = lines(log)
    if change == "drop":
        del changed[3]
    elif change == "swap":
        changed[3], changed[4] = changed[4], changed[3]
    elif change == "repeat":
        changed.insert(3, changed[2])
    else:
        changed.insert(3, b"\n")
    log.path.write_bytes(b"".join(changed))
    report = log.verify()
    assert (report.first_bad, report.num_entries) == (4, 3)


def rehashed(line: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A line changed by somebody who knows how hashes are made."""
    content = json.loads(line)
    change(content["body"])
    body = json.dumps(content["body"], sort_keys=True, separators=(",", ":")).encode()
    content["hash"] = hashlib.sha256(bytes.fromhex(content["previous"]) + body).hexdigest()
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def test_a_changed_entry_with_a_new_hash_breaks_the_chain_after_it(log: AuditLog) -> None:
    changed = lines(log)
    changed[3] = rehashed(changed[3], lambda body: body["entry"].update(num_events=0))
    log.path.write_bytes(b"".join(changed))
    assert log.verify().first_bad == 5


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["entry"].update(label="Ann"),
        lambda body: body["entry"].update(num_examples="Ann"),
        lambda body: body.update(kind="diary"),
        lambda body: body.update(kind=["taught"]),
        lambda body: body.update(seq=True),
        lambda body: body.update(at_ms=-1),
        lambda body: body.update(at_ms=10**18),
        lambda body: body.update(entry=[]),
        lambda body: body.pop("at_ms"),
    ],
)
def test_an_entry_that_says_more_than_its_type_is_bad(
    log: AuditLog, change: Callable[[dict[str, Any]], object]
) -> None:
    changed = [*lines(log)[:1], rehashed(lines(log)[1], change)]
    log.path.write_bytes(b"".join(changed))
    report = log.verify()
    assert report.first_bad == 2
    assert "Ann" not in report.reason
    with pytest.raises(AuditError):
        log.append(Erased(num_examples=0))
    with pytest.raises(AuditError):
        log.head()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"NaN",
        b"\xff\xfe",
        b"[" * 5000,
        b'{"body":1,"body":2}',
        b"9" * 5000,
    ],
)
def test_rubbish_is_a_bad_entry(log: AuditLog, line: bytes) -> None:
    with log.path.open("ab") as file:
        file.write(line + b"\n")
    assert log.verify().first_bad == len(ENTRIES) + 1


@pytest.mark.parametrize("torn", [b"{", b"\0" * 300, b"x" * 20_000])
def test_a_torn_line_is_reported_and_only_repair_cuts_it_off(log: AuditLog, torn: bytes) -> None:
    before = log.path.read_bytes()
    log.path.write_bytes(before + torn)
    report = log.verify()
    assert (report.ok, report.first_bad, report.torn_bytes) == (False, None, len(torn))
    with pytest.raises(AuditError, match="repair"):
        log.append(Erased(num_examples=0))
    assert log.path.read_bytes() == before + torn
    record = log.repair()
    assert record is not None
    assert record.entry == LogRepaired(
        num_bytes=len(torn), removed_digest=hashlib.sha256(torn).hexdigest()
    )
    assert log.path.read_bytes().startswith(before)
    assert log.verify().ok
    assert log.repair() is None
    log.append(Erased(num_examples=0))
    assert log.verify().num_entries == len(ENTRIES) + 2


def test_a_log_that_is_one_torn_line_is_repaired(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.path.write_bytes(b'{"body"')
    assert log.repair() is not None
    assert log.verify().ok


def test_repair_does_not_mend_a_forged_entry(log: AuditLog) -> None:
    forged = rehashed(lines(log)[-1], lambda body: body.update(kind="diary")) + b"{"
    content = b"".join(lines(log)[:-1]) + forged
    log.path.write_bytes(content)
    with pytest.raises(AuditError):
        log.repair()
    assert log.path.read_bytes() == content


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_write_that_fails_leaves_the_log_as_it_was(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    before = log.path.read_bytes()
    real = os.pwrite
    fallen: list[int] = []

    def fail(*arguments: Any) -> int:
        if call == "pwrite" and not fallen:  # a part is written, then the disk is full
            fallen.append(1)
            return real(arguments[0], arguments[1][:7], arguments[2])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(audit.os, call, fail)
    with pytest.raises(AuditError, match=os.strerror(code)):
        log.append(Erased(num_examples=0))
    monkeypatch.undo()
    assert log.path.read_bytes() == before
    log.append(Erased(num_examples=0))
    assert log.verify().ok


def test_short_writes_are_finished(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(audit.os, "pwrite", lambda f, data, at: real(f, data[:5], at))
    log.append(Erased(num_examples=0))
    assert log.verify().num_entries == len(ENTRIES) + 1


def test_an_entry_is_on_the_disk_when_append_returns(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(file: int) -> None:
        synced.append(os.fstat(file).st_size)
        real(file)

    monkeypatch.setattr(audit.os, "fsync", fsync)
    log.append(Erased(num_examples=0))
    assert synced == [log.path.stat().st_size]


def test_a_link_is_not_followed(log: AuditLog, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "audit.log").symlink_to(log.path)
    with pytest.raises(AuditError):
        AuditLog(tmp_path / "other").append(Erased(num_examples=0))


def append_many(home: str, num: int) -> None:
    log = AuditLog(home)
    for number in range(num):
        log.append(Taught(num_examples=number, num_kept=number))


def test_processes_share_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=append_many, args=(str(tmp_path), 25)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    report = AuditLog(tmp_path).verify()
    assert (report.ok, report.num_entries) == (True, 75)


def test_only_entries_of_the_list_are_appended(log: AuditLog) -> None:
    before = log.path.read_bytes()
    for bad in (None, "Ann", AuditEntry(), {"kind": "erased"}):
        with pytest.raises(InvalidOptionError):
            log.append(bad)  # type: ignore[arg-type]
    assert log.path.read_bytes() == before
