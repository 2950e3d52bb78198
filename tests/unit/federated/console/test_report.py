from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from edge_sdk.cli.app import app
from federated.console.report import render
from federated.run_log.reader import read_log
from federated.run_log.writer import RunLog
from tests.support.run_logs import a_finished_log, a_report, an_about, write_round
from tests.unit.federated.demo.test_report import read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(read_log(a_finished_log(tmp_path_factory.mktemp("run") / "new.run.jsonl")))


def test_the_page_is_well_formed_and_needs_nothing_else(html: str) -> None:
    attributes = read(html).attributes
    for tag, name, value in attributes:
        if name in {"src", "href", "xlink:href", "data", "srcset"}:
            assert value.startswith(("data:", "#")), (tag, name)
    assert "<script" not in html
    assert "@import" not in html
    ids = [value for _, name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_every_plot_has_a_title_and_its_numbers_beside_it(html: str) -> None:
    plots = html.count("<svg")
    assert plots == 4  # accuracy, epsilon, participation, bytes
    titles = re.findall(r'<svg role="img" aria-label="([^"]+)"[^>]*><title>([^<]+)</title>', html)
    assert len(titles) == plots
    assert all(label == title for label, title in titles)
    assert html.count("<table>") >= plots
    row = re.search(r"<tr><td[^>]*>3</td>.*?</tr>", html[html.index("<details>") :])
    assert row is not None
    cells = re.findall(r">([^<]*)</td>", row[0].replace("\N{NO-BREAK SPACE}", " "))
    assert cells[:-1] == [
        "3", "4", "2", "1", "1", "0", "0.5", "3.00", "70.0 %", "30.0 %", "4.0 kB", "3.0 kB",
    ]  # fmt: skip


def test_the_page_says_what_happened_first(html: str) -> None:
    start = html[html.index("<body>") : html.index("<h2>")].replace("\N{NO-BREAK SPACE}", " ")
    assert "Completed: 3 of 3 rounds." in start
    assert ">70.0 <small>%</small>" in start
    assert "worst tenth 30.0 % of 9" in start
    assert ">4.00 <small>of 8</small>" in start
    assert "6 of 12 devices" in start
    assert "stale" in html
    assert "no reply" in html


def test_the_same_log_gives_the_same_page(tmp_path: Path) -> None:
    run = read_log(a_finished_log(tmp_path / "log"))
    assert render(run) == render(run)


def test_a_run_without_rounds_noise_or_measurements_has_a_page(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with RunLog(path, an_about(budget_epsilon=None, budget_delta=None)) as log:
        assert "Running: 0 of 3" in render(read_log(path))
        write_round(log, 0, epsilon=None, evaluation=None, traffic=None)
    html = render(read_log(path))
    read(html)
    assert "no formal privacy guarantee" in html
    assert html.count("<svg") == 1


def test_groups_of_a_masked_round_that_gave_up_are_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with RunLog(path, an_about(num_clients=4)) as log:
        log.round(a_report(0, num_accepted=0, num_missing=4, given_up={"too_few_members": 2}))
    html = render(read_log(path))
    assert "Masked groups that gave their sum up: 2 too few members." in html
    assert "all of them were wanted" in html
    assert "no reply</td><td>\N{EN DASH}</td>" in html  # the reason is the same word


def test_a_long_run_is_no_thousands_of_bars(tmp_path: Path) -> None:
    html = render(read_log(a_finished_log(tmp_path / "log", rounds=300)))
    page = html[: html.index("<details>")]
    assert page.count("<path") < 1500
    assert "300 rounds" in html


def test_reasons_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with RunLog(path, an_about()) as log:
        write_round(log, 0, lost={"<b>": 1})
    html = render(read_log(path))
    assert "<b>" not in html.replace("<b>Each", "").replace("<b>Of", "").replace("<b>Epsilon", "")
    assert "&lt;b&gt;" in html


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    a_finished_log(tmp_path / "new.run.jsonl")
    out = tmp_path / "page.html"
    run = CliRunner().invoke(app, ["federated", "report", str(tmp_path / "new"), "--out", str(out)])
    assert run.exit_code == 0, run.output
    read(out.read_text("utf-8"))
    lost = tmp_path / "missing" / "page.html"
    run = CliRunner().invoke(
        app, ["federated", "report", str(tmp_path / "new"), "--out", str(lost)]
    )
    assert "its folder does not exist" in run.stderr
