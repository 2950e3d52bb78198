"""`edge-sdk log`: a table, JSON, and an exit status that says whether the log is whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("typer", reason="needs the extra cli")

from typer.testing import CliRunner

from edge_sdk.audit import AuditLog
from edge_sdk.audit_entries import BundleOpened, Drifted, Taught
from edge_sdk.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    made = AuditLog(tmp_path, clock=lambda: 1_700_000_000.0)
    made.append(BundleOpened(bundle_digest="ab" * 32, bundle_version=3))
    made.append(Taught(num_examples=5, num_kept=5))
    made.append(Drifted(signal="errors_rose", advice="teach_again", num_events=77, fell_back=True))
    return made


def run(log: AuditLog, *options: str, columns: int = 80) -> Result:
    arguments = ["log", str(log.path.parent), *options]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns)})


@pytest.mark.parametrize("columns", [60, 80])
def test_the_table_fits_the_terminal_and_shows_everything(log: AuditLog, columns: int) -> None:
    result = run(log, columns=columns)
    assert result.exit_code == 0
    *table, verdict = result.output.splitlines()
    assert max(map(len, table)) <= columns
    words = " ".join(result.output.split())
    for word in ("2023-11-14 22:13:20", "bundle opened", "abababababab", "drifted", "77"):
        assert word in words
    assert verdict == f"3 entries verified, head {log.head()}"


def test_json_is_all_entries_and_the_verdict(log: AuditLog) -> None:
    result = run(log, "--json")
    assert result.exit_code == 0
    content = json.loads(result.output)
    assert [entry["kind"] for entry in content["entries"]] == ["bundle_opened", "taught", "drifted"]
    assert content["entries"][1]["num_kept"] == 5
    assert content["verified"]["ok"] is True
    assert content["verified"]["head"] == log.head()


def test_verify_prints_one_line(log: AuditLog) -> None:
    result = run(log, "--verify")
    assert (result.exit_code, result.output.count("\n")) == (0, 1)
    assert json.loads(run(log, "--verify", "--json").output)["entries"] == []


def test_a_bad_entry_is_named_with_exit_status_1(log: AuditLog) -> None:
    log.path.write_bytes(log.path.read_bytes().replace(b'"num_kept":5', b'"num_kept":6'))
    result = run(log, "--verify")
    assert result.exit_code == 1
    assert result.stderr == "entry 2 is bad: its hash does not match it\n"
    assert json.loads(run(log, "--json").stdout)["verified"]["first_bad"] == 2


def test_a_torn_line_is_repaired_only_when_asked(log: AuditLog) -> None:
    with log.path.open("ab") as file:
        file.write(b"{")
    assert run(log).exit_code == 1
    assert "torn line of 1 bytes" in run(log, "--verify").stderr
    result = run(log, "--repair")
    assert result.exit_code == 0
    assert "log repaired" in result.output


def test_a_missing_head_is_exit_status_1(log: AuditLog) -> None:
    head = log.head()
    assert run(log, "--verify", "--head", head).exit_code == 0
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:2]))
    assert run(log, "--verify", "--head", head).exit_code == 1


def test_a_home_without_a_log_is_one_line_on_stderr(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["log", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr == "edge-sdk: there is no audit.log in that folder\n"
