"""What a person sees of a running simulation, in a terminal and in a log."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from federated.fleet.show import FleetProgress
from tests.unit.federated.fleet.conftest import quiet
from tests.unit.federated.fleet.test_driver import run, synchronous


def show(rounds: int, console: Console) -> None:
    driver, _ = synchronous(quiet(replies=5))
    report, visits = run(driver, 1).reports[0], driver.reports[0]
    with FleetProgress(rounds, console) as progress:
        for number in range(rounds):
            progress.on_round(replace(report, server_round=number), visits, {})


@pytest.mark.parametrize(("rounds", "lines"), [(3, 3), (20, 20), (30, 20), (1000, 20)])
def test_a_log_gets_about_twenty_lines(rounds: int, lines: int) -> None:
    stream = io.StringIO()
    show(rounds, Console(file=stream, width=30))
    found = stream.getvalue().splitlines()
    assert len(found) == lines
    assert found[-1] == f"round {rounds}/{rounds}: 0.0 h, 5 of 7 updates"


def test_a_terminal_gets_a_bar() -> None:
    stream = io.StringIO()
    show(30, Console(file=stream, force_terminal=True, width=100))
    assert "30/30" in stream.getvalue()
    assert "round 30/30:" not in stream.getvalue()
