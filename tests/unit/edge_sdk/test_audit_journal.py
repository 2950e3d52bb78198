"""Entries that are committed with their change: each is in the file once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from edge_sdk import Event, EventKind, Personalizer
from edge_sdk.audit import AuditLog
from edge_sdk.audit_entries import ConsentChanged
from tests.support.homes import run_sql, shots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONSENT = ConsentChanged(consent_id="0f8fad5b-d9cb-469f-a165-70867728950e", granted=True)


class KilledError(BaseException):
    """The process ends here."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def personal(tiny_bundle: Path, home: Path, events: list[Event]) -> Iterator[Personalizer]:
    with Personalizer(tiny_bundle, home=home, on_event=events.append) as opened:
        opened.teach("anna", shots(0))
        yield opened


def kinds(home: Path) -> list[str]:
    log = AuditLog(home)
    assert log.verify().ok
    return [record.entry.KIND for record in log.records()]


def taught_and_killed(personal: Personalizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that commits, in a process that ends before the log is written."""

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(AuditLog, "write_planned", killed)
        with pytest.raises(KilledError):
            personal.teach("ben", shots(1))


def test_the_next_opening_writes_what_a_crash_left_out(
    personal: Personalizer, tiny_bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught_and_killed(personal, monkeypatch)
    assert kinds(home) == ["bundle_opened", "taught"]
    for _ in range(2):
        with Personalizer(tiny_bundle, home=home) as again:
            assert len(again.examples) == 6
        assert kinds(home) == ["bundle_opened", "taught", "taught"]


def test_a_line_torn_by_the_crash_is_finished(
    personal: Personalizer, tiny_bundle: Path, home: Path
) -> None:
    before = personal.audit_log.path.read_bytes()
    personal.teach("ben", shots(1))
    whole = personal.audit_log.path.read_bytes()
    for size in (len(before) + 1, len(whole) - 1):
        personal.audit_log.path.write_bytes(whole[:size])
        with Personalizer(tiny_bundle, home=home):
            assert personal.audit_log.path.read_bytes() == whole


def test_the_app_s_own_entries_may_come_between(
    personal: Personalizer, tiny_bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    AuditLog(home).append(CONSENT)
    personal.teach("anna", shots(0))
    taught_and_killed(personal, monkeypatch)
    AuditLog(home).append(CONSENT)  # before the line that is still missing
    with Personalizer(tiny_bundle, home=home):
        pass
    assert kinds(home) == [
        "bundle_opened", "taught", "consent_changed", "taught", "consent_changed", "taught",
    ]  # fmt: skip


def test_an_entry_that_comes_between_plan_and_file_is_no_gap(
    personal: Personalizer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, others = AuditLog.write_planned, [CONSENT]

    def interrupted(self: AuditLog, *args: Any, **options: Any) -> bool:
        if others:
            AuditLog(home).append(others.pop())
        return real(self, *args, **options)

    monkeypatch.setattr(AuditLog, "write_planned", interrupted)
    personal.teach("ben", shots(1))
    assert kinds(home) == ["bundle_opened", "taught", "consent_changed", "taught"]


@pytest.mark.parametrize("how", ["cut", "removed", "older copy"])
def test_a_log_that_lost_its_end_shows_it(
    personal: Personalizer, events: list[Event], how: str
) -> None:
    path = personal.audit_log.path
    older = path.read_bytes()
    for _ in range(2):
        personal.teach("ben", shots(1))
    assert events == []
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "cut" else older)
    personal.teach("ben", shots(1))
    report = personal.audit_log.verify()
    assert not report.ok
    assert report.first_bad == (3 if how == "older copy" else 1)
    assert [event.kind for event in events] == [EventKind.AUDIT_FAILED]
    assert "lost entries" in events[0].detail
    personal.teach("ben", shots(1))
    assert len(events) == 1  # told once
    assert len(personal.examples) == 15  # and nothing else is lost


def test_a_log_that_lost_its_last_entry_gets_it_back(personal: Personalizer, home: Path) -> None:
    older = personal.audit_log.path.read_bytes()
    personal.teach("ben", shots(1))
    personal.audit_log.path.write_bytes(older)
    personal.forget("ben")
    assert kinds(home) == ["bundle_opened", "taught", "taught", "forgot"]


def test_a_damaged_stored_line_leaves_its_number_free(
    personal: Personalizer, tiny_bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught_and_killed(personal, monkeypatch)
    run_sql(home, "UPDATE audit SET line = x'00' WHERE seq = 3")
    with Personalizer(tiny_bundle, home=home) as again:
        again.teach("ben", shots(1))
        report = again.audit_log.verify()
    assert (report.num_entries, report.first_bad) == (2, 3)


def test_a_damaged_stored_line_that_is_in_the_file_does_no_harm(
    personal: Personalizer, tiny_bundle: Path, home: Path
) -> None:
    run_sql(home, "UPDATE audit SET line = x'00'")
    with Personalizer(tiny_bundle, home=home) as again:
        again.teach("ben", shots(1))
    assert kinds(home) == ["bundle_opened", "taught", "taught"]
    assert personal.audit_log.verify().ok


def test_a_log_that_cannot_be_written_stops_nothing(
    personal: Personalizer, home: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        personal.teach("ben", shots(1))
        personal.adapt()
    assert [event.kind for event in events] == [
        EventKind.AUDIT_FAILED, EventKind.ADAPTED, EventKind.AUDIT_FAILED,
    ]  # fmt: skip
    assert "entries wait in the store" in events[0].detail
    assert kinds(home) == ["bundle_opened", "taught"]
    personal.forget("ben")
    assert kinds(home) == ["bundle_opened", "taught", "taught", "adapted", "forgot"]


def test_a_change_that_fails_has_no_entry(
    personal: Personalizer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("edge_sdk.store_notes.Outbox.replace", fails)
        with pytest.raises(KilledError):
            personal.teach("ben", shots(1))
    assert len(personal.examples) == 3
    personal.forget("anna")
    assert kinds(home) == ["bundle_opened", "taught", "forgot"]


def test_a_store_too_damaged_to_be_opened_is_in_the_log(
    personal: Personalizer, tiny_bundle: Path, home: Path
) -> None:
    personal.close()
    (home / "personal.db").write_bytes(b"no database")
    with Personalizer(tiny_bundle, home=home) as again:
        again.erase()
        again.teach("ben", shots(1))
    assert kinds(home) == ["bundle_opened", "taught", "recovered", "erased", "taught"]
