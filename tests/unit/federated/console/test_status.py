from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from typer.testing import CliRunner

from edge_sdk.cli.app import app
from federated.console.status import render, summary, watch
from federated.run_log.reader import read_log
from federated.run_log.records import Status
from federated.run_log.writer import RunLog
from tests.support.run_logs import a_finished_log, a_report, an_about, write_round

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new.run.jsonl"


def shown(path: Path, width: int = 60) -> list[str]:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(render(read_log(path)))
    return capture.get().splitlines()


def test_a_run_is_shown_in_60_columns_with_nothing_cut_off(path: Path) -> None:
    lines = shown(a_finished_log(path, rounds=120))
    assert max(map(len, lines)) <= 60
    text = "\n".join(lines)
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for wanted in (
        "Completed: 120 of 120 rounds.", "121.00 of 8 at delta 1e-05", "120 no reply", "120 stale",
        "480 kB", "1.0 kB a device and round", "worst tenth 30.0 % of 9", "the last 10 rounds",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert lines[-2].split()[:4] == ["120", "2/4", "1", "1"]


def test_a_run_without_noise_or_measurements_is_shown(path: Path) -> None:
    with RunLog(path, an_about(budget_epsilon=None, budget_delta=None)) as log:
        write_round(log, 0, epsilon=None, evaluation=None, traffic=None)
    text = "\n".join(shown(path))
    assert "no noise, so no guarantee" in text
    assert "Interrupted after 1 of 3 rounds" in text
    assert "epsilon" not in text
    assert "accuracy" not in text


def test_the_summary_sums_up(path: Path) -> None:
    found = summary(read_log(a_finished_log(path)))
    assert (found["asked"], found["accepted"], found["rounds_done"]) == (12, 6, 3)
    assert found["refused"] == {"stale": 3}
    assert found["dropped"] == {"no_reply": 3}
    assert found["bytes_down_per_device_and_round"] == 1000
    assert found["evaluation"]["before_teaching"]["worst_decile"] == 0.3
    assert (found["epsilon"], found["budget_epsilon"]) == (4.0, 8.0)


def test_watching_waits_for_the_run_and_ends_with_it(path: Path) -> None:
    seen = []
    console = Console(width=60, force_terminal=True, file=open_sink(seen))
    thread = threading.Thread(target=run_slowly, args=(path,))
    thread.start()
    run = watch(path, console, interval_s=0.02)
    thread.join()
    assert (run.status, len(run.rounds)) == (Status.COMPLETED, 2)
    text = "".join(seen)
    assert "Waiting for new.run.jsonl to begin" in text
    assert text.count("Running: 1 of 3 rounds done.") == 1, "drawn when something is new"
    assert "Running: 1 of 3 rounds done." in text
    assert "Completed: 2 of 3 rounds." in text


def test_what_has_begun_is_drawn_once(path: Path) -> None:
    with RunLog(path, an_about()) as log:
        write_round(log, 0)
        thread = threading.Thread(target=complete_later, args=(log,))
        thread.start()
        seen: list[str] = []
        console = Console(width=60, force_terminal=True, file=open_sink(seen))
        assert watch(path, console, interval_s=0.02).status == Status.COMPLETED
        thread.join()
    assert "".join(seen).count("Running: 1 of 3 rounds done.") == 1


def complete_later(log: RunLog) -> None:
    time.sleep(0.2)
    log.complete(epsilon=2.0)


def test_watching_goes_on_where_a_run_is_interrupted_and_resumed(path: Path) -> None:
    with RunLog(path, an_about()) as log:
        write_round(log, 0)
    seen: list[str] = []
    console = Console(width=60, force_terminal=True, file=open_sink(seen))
    thread = threading.Thread(target=resume_later, args=(path,))
    thread.start()
    run = watch(path, console, interval_s=0.02)
    thread.join()
    assert (run.status, run.num_resumed, len(run.rounds)) == (Status.COMPLETED, 1, 2)
    text = "".join(seen)
    assert "Interrupted after 1 of 3 rounds" in text
    assert "resumed 1 times" not in text
    assert "resumed once" in text


def resume_later(path: Path) -> None:
    time.sleep(0.2)
    start = SimpleNamespace(next_round=1, reports=(a_report(0),))
    with RunLog(path, an_about(), start) as log:  # type: ignore[arg-type]
        write_round(log, 1)
        log.complete(epsilon=2.0)


def test_groups_of_a_masked_round_that_gave_up_are_shown(path: Path) -> None:
    with RunLog(path, an_about(num_clients=4)) as log:
        log.round(a_report(0, num_accepted=0, num_missing=4, given_up={"too_few_members": 2}))
    text = "\n".join(shown(path))
    assert "gave their sum up: 2 too few members" in text
    assert "4, all wanted a round" in text
    assert summary(read_log(path))["groups_given_up"] == {"too_few_members": 2}


def run_slowly(path: Path) -> None:
    time.sleep(0.2)
    with RunLog(path, an_about()) as log:
        for number in range(2):
            write_round(log, number)
            time.sleep(0.2)
        log.complete(epsilon=2.0)


class open_sink:  # noqa: N801 - stands where a file does
    encoding = "utf-8"

    def __init__(self, seen: list[str]) -> None:
        self.write = seen.append

    def flush(self) -> None: ...


def test_the_command_prints_tables_or_json_and_fails_where_the_run_did(path: Path) -> None:
    a_finished_log(path)
    run = CliRunner().invoke(app, ["federated", "status", str(path)])
    assert run.exit_code == 0, run.output
    assert "Completed: 3 of 3" in run.stdout
    run = CliRunner().invoke(app, ["federated", "status", str(path), "--json"])
    content = json.loads(run.stdout)
    assert content["status"] == "completed"
    assert [entry["server_round"] for entry in content["per_round"]] == [0, 1, 2]
    run = CliRunner().invoke(app, ["federated", "status", str(path), "--watch"])
    assert run.exit_code == 0
    with RunLog(path, an_about()):
        pass
    run = CliRunner().invoke(app, ["federated", "status", str(path)])
    assert run.exit_code == 1
    run = CliRunner().invoke(app, ["federated", "status", str(path), "--watch", "--json"])
    assert "--watch is for people" in run.stderr
    run = CliRunner().invoke(app, ["federated", "status", str(path.parent / "other")])
    assert run.exit_code != 0
    assert "there is no run log" in run.stderr
