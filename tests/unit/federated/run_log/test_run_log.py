from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from federated.errors import BudgetExhaustedError, RunLogError
from federated.round_core import RoundOptions, start_state
from federated.run_log.reader import find_log, read_log
from federated.run_log.records import RoundEntry, Status, Traffic
from federated.run_log.writer import RunLog
from tests.support.run_logs import DIGEST, a_finished_log, a_report, an_about, write_round

if TYPE_CHECKING:
    from pathlib import Path

    from federated.round_core import RunState


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new.run.jsonl"


def state_after(rounds: int) -> RunState:
    reports = tuple(a_report(number) for number in range(rounds))
    return replace(start_state({}, RoundOptions()), next_round=rounds, reports=reports)


def test_what_is_written_is_read(path: Path) -> None:
    run = read_log(a_finished_log(path))
    assert run.about == an_about()
    assert (run.status, run.num_resumed, run.epsilon) == (Status.COMPLETED, 0, 4.0)
    assert run.end["bundle_digest"] == "b" * 64
    assert [entry.server_round for entry in run.rounds] == [0, 1, 2]
    entry = run.rounds[1]
    assert entry.traffic == Traffic(bytes_down=4000, bytes_up=3001, devices_down=4, devices_up=3)
    assert (entry.num_asked, entry.num_accepted, entry.dropped) == (4, 2, {"no_reply": 1})
    assert (entry.refused, entry.failed, entry.epsilon) == ({"stale": 1}, {}, 2.0)
    assert run.scores("before_teaching")[2].mean == pytest.approx(0.7)
    assert all(e.wall_s is not None and e.wall_s >= 0 for e in run.rounds)


def test_every_line_is_one_json_object_for_the_owner_alone(path: Path) -> None:
    lines = [json.loads(text) for text in a_finished_log(path).read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["run", "round", "round", "round", "end"]
    assert lines[0]["format"] == 1
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_torn_last_line_is_not_read_and_is_cut_off_by_the_next_writer(
    path: Path, cut: int
) -> None:
    with RunLog(path, an_about()) as log:
        write_round(log, 0)
        write_round(log, 1)
    os.truncate(path, path.stat().st_size - cut)
    run = read_log(path)
    assert (run.status, len(run.rounds)) == (Status.INTERRUPTED, 1)
    with RunLog(path, an_about(), state_after(2)) as log:
        write_round(log, 2)
        log.complete(epsilon=3.0)
    run = read_log(path)
    assert (run.status, run.num_resumed) == (Status.COMPLETED, 1)
    assert [entry.server_round for entry in run.rounds] == [0, 1, 2]
    assert run.rounds[1].wall_s is None  # of the checkpoint alone
    assert run.rounds[1].num_accepted == 2


def test_rounds_that_a_resumed_run_does_again_count_once(path: Path) -> None:
    with RunLog(path, an_about()) as log:
        write_round(log, 0)
        write_round(log, 1, epsilon=50.0)
    with RunLog(path, an_about(), state_after(1)) as log:
        write_round(log, 1)
    run = read_log(path)
    assert [entry.epsilon for entry in run.rounds] == [1.0, 2.0]


def test_a_run_begun_anew_or_on_another_bundle_leaves_the_old_one_behind(path: Path) -> None:
    a_finished_log(path)
    with RunLog(path, an_about()):
        pass
    assert read_log(path).rounds == ()
    with RunLog(path, an_about(bundle_digest="c" * 64), state_after(2)):
        pass
    run = read_log(path)
    assert run.about.bundle_digest == "c" * 64
    assert [entry.server_round for entry in run.rounds] == [0, 1]


def test_how_a_run_ended_is_said(path: Path) -> None:
    with RunLog(path, an_about()) as log:
        assert read_log(path).status == Status.RUNNING
        with pytest.raises(RunLogError, match="another process writes"):
            RunLog(path, an_about())
        write_round(log, 0)
        assert read_log(path).status == Status.RUNNING
    with pytest.raises(BudgetExhaustedError), RunLog(path, an_about()):
        raise BudgetExhaustedError
    run = read_log(path)
    assert (run.status, run.end["reason"]) == (Status.FAILED, "budget_exhausted")
    with pytest.raises(KeyboardInterrupt), RunLog(path, an_about()):
        raise KeyboardInterrupt
    assert read_log(path).status == Status.INTERRUPTED


def test_a_killed_run_is_interrupted_and_its_rounds_are_there(path: Path) -> None:
    code = (
        "import sys, os; from pathlib import Path;"
        "from federated.run_log.writer import RunLog;"
        "from tests.support.run_logs import an_about, write_round;"
        "log = RunLog(Path(sys.argv[1]), an_about()); write_round(log, 0); write_round(log, 1);"
        "print('written', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        assert read_log(path).status == Status.RUNNING
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    run = read_log(path)
    assert (run.status, len(run.rounds)) == (Status.INTERRUPTED, 2)


def test_a_full_disk_leaves_whole_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunLog(path, an_about()) as log:
        write_round(log, 0)

        def half(file: int, data: memoryview) -> int:
            if len(data) > 40:
                return real(file, data[:40])
            raise OSError(28, "No space left on device")

        real = os.write
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", lambda file, data: half(file, data[:60]))
            with pytest.raises(RunLogError, match="No space left"):
                write_round(log, 1)
        write_round(log, 1)
    assert [entry.server_round for entry in read_log(path).rounds] == [0, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"format": 1', '"format": 2', "is of format 2, this version reads 1"),
        ('"num_accepted": 2', '"num_accepted": null', "line 2 of the run log is damaged"),
        ('"kind": "round"', '"kind": "rou', "line 2 of the run log is damaged"),
        ('"status": "completed"', '"status": "fine"', "line 5 of the run log is damaged"),
    ],
)
def test_a_damaged_or_newer_log_is_refused(path: Path, old: str, new: str, message: str) -> None:
    text = a_finished_log(path).read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RunLogError, match=message):
        read_log(path)


def test_kinds_of_lines_that_are_not_known_are_passed_over(path: Path) -> None:
    text = a_finished_log(path).read_text()
    path.write_text('{"kind": "note", "at": ""}\n'.join(text.splitlines(keepends=True)))
    assert len(read_log(path).rounds) == 3


def test_a_log_is_found_by_its_name_its_folder_or_its_bundle(tmp_path: Path) -> None:
    beside = a_finished_log(tmp_path / "new.run.jsonl")
    (tmp_path / "new").mkdir()
    inside = tmp_path / "fleet" / "run.jsonl"
    inside.parent.mkdir()
    a_finished_log(inside)
    assert find_log(beside) == beside
    assert find_log(tmp_path / "new") == beside
    assert find_log(tmp_path / "fleet") == inside
    with pytest.raises(RunLogError, match="there is no run log at"):
        find_log(tmp_path / "other")
    (tmp_path / "empty.run.jsonl").touch()
    with pytest.raises(RunLogError, match="holds no run yet"):
        read_log(tmp_path / "empty.run.jsonl")


def test_devices_that_a_simulation_lost_are_told_apart(path: Path) -> None:
    with RunLog(path, an_about()) as log:
        write_round(log, 0, lost={"late": 3, "lost_upload": 0, "lost_training": 2})
    entry = read_log(path).rounds[0]
    assert isinstance(entry, RoundEntry)
    assert entry.dropped == {"late": 3, "lost_training": 2}
    assert entry.num_asked == 7
    assert read_log(path).about.bundle_digest == DIGEST
