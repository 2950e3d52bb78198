"""Whole runs in one process: rounds, the judging of the candidate, and what becomes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from edge_sdk import open_bundle
from edge_sdk.cli.app import app
from edge_sdk.errors import InvalidOptionError
from federated.console.report import render
from federated.evaluation.options import EvaluationOptions
from federated.evaluation.verdict import Reason
from federated.fleet.config import FleetConfig
from federated.fleet.options import AlgorithmOptions
from federated.fleet.run import simulate_fleet
from federated.population import PopulationOptions, open_population
from federated.privacy.options import PrivacyOptions
from federated.privacy.private_run import PrivacySetup
from federated.round_core import RoundOptions
from federated.run_log.reader import find_log, read_log
from federated.study import labelled, run_study

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sdk import Bundle
    from federated.population import Population

PEOPLE = PopulationOptions(writers=12, held_out=4, images=4, seed=1)
GOOD = RoundOptions(rounds=2, cohort_size=8, clipping_norm=10.0)
WILD = RoundOptions(rounds=2, cohort_size=8, clipping_norm=10.0, server_lr=60.0)
JUDGED = EvaluationOptions(devices=12, min_devices=5)


@pytest.fixture
def people() -> Population:
    return open_population("digits", PEOPLE, max_classes=4)


@pytest.fixture
def start(patches_bundle: Path, people: Population, tmp_path: Path) -> Bundle:
    return labelled(open_bundle(patches_bundle), people.labels, tmp_path / "start", prior_count=5.0)


def test_a_candidate_that_serves_users_is_promoted_and_says_how_it_was_judged(
    start: Bundle, people: Population, tmp_path: Path
) -> None:
    report = run_study(start, people, GOOD, tmp_path / "new", evaluation=JUDGED)
    assert report.evaluation is not None
    found = report.evaluation.verdict
    assert (found.promoted, report.evaluation.num_accepted) == (True, 12)
    assert found.gain_low > 0
    new = open_bundle(tmp_path / "new")
    assert new.digest == report.new_digest
    assert new.manifest.quality["judged_gain"] == pytest.approx(found.gain)
    assert not (tmp_path / "new.checkpoint").exists()
    run = read_log(find_log(tmp_path / "new"))
    assert run.evaluation == report.evaluation
    assert "The candidate was promoted" in render(run)


def test_a_worse_candidate_is_rolled_back_and_the_report_says_why(
    start: Bundle, people: Population, tmp_path: Path
) -> None:
    """A server that steps sixty times too far."""
    before = {path.name: path.read_bytes() for path in start.path.iterdir()}
    report = run_study(start, people, WILD, tmp_path / "new", evaluation=JUDGED)
    assert report.evaluation is not None
    found = report.evaluation.verdict
    assert (found.promoted, found.reason) == (False, Reason.WORSE)
    assert found.candidate.worst_decile < found.current.worst_decile
    assert report.new_digest is None
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "new.checkpoint").exists()  # a run with more rounds goes on from here
    assert {path.name: path.read_bytes() for path in start.path.iterdir()} == before
    run = read_log(find_log(tmp_path / "new"))
    assert (run.status, run.end["bundle_digest"]) == ("completed", None)
    html = render(run)
    assert "The candidate was not promoted: it is worse than the current bundle" in html
    status = CliRunner().invoke(app, ["federated", "status", str(tmp_path / "new")])
    assert "not promoted" in status.stdout
    # without judges the same candidate would have become the next bundle
    assert run_study(start, people, WILD, tmp_path / "trusted").new_digest is not None


def test_a_private_judgement_is_noised_and_paid_for_in_the_same_run(
    start: Bundle, people: Population, tmp_path: Path
) -> None:
    private = PrivacyOptions(
        noise_multiplier=2.0, epsilon=60.0, delta=1e-3, accountant="rdp", sampling="fixed"
    )
    reports = {}
    for name, evaluation in (("without", None), ("judged", JUDGED)):
        setup = PrivacySetup(options=private, ledger=tmp_path / f"{name}.ledger", noise_seed=1)
        reports[name] = run_study(
            start, people, GOOD, tmp_path / name, privacy=setup, evaluation=evaluation
        )
    judged, without = reports["judged"], reports["without"]
    assert judged.privacy is not None
    assert without.privacy is not None
    assert judged.privacy.rounds == without.privacy.rounds + 1
    assert judged.privacy.epsilon > without.privacy.epsilon
    assert judged.evaluation is not None
    assert judged.evaluation.verdict.noise_deviation == pytest.approx(2.74, abs=0.01)
    # twelve users hide in this noise: nothing is shown, so nothing is promoted
    assert judged.evaluation.verdict.reason in (Reason.NOT_SHOWN, Reason.TOO_FEW)
    run = read_log(find_log(tmp_path / "judged"))
    assert run.epsilon == judged.privacy.epsilon
    assert run.rounds[-1].epsilon is not None
    assert run.rounds[-1].epsilon < judged.privacy.epsilon


def test_the_command_asks_judges_and_says_what_they_found(
    patches_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new"
    run = CliRunner().invoke(
        app,
        [
            "federated", "simulate", str(patches_bundle), "--out", str(out), "--rounds", "1",
            "--writers", "6", "--held-out", "2", "--images", "3", "--judges", "6",
            "--min-judges", "7",
        ],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    said = " ".join(run.stdout.split())
    assert "was not promoted: too few devices judged it: ask more, or lower min_devices" in said
    assert "The old bundle stays current" in said
    assert not out.exists()


FLEET = """
bundle = "patches"
out = "run"
[population]
source = "digits"
persons = 6
devices = 30
held_out = 4
examples = 8
max_classes = 4
[round]
rounds = 2
replies = 5
server_lr = {rate}
[evaluation]
devices = 25
"""


@pytest.mark.parametrize(("rate", "promoted"), [(1.0, True), (60.0, False)])
def test_a_fleet_judges_its_candidate(
    patches_bundle: Path, tmp_path: Path, rate: float, promoted: bool
) -> None:
    assert patches_bundle.parent == tmp_path
    (tmp_path / "fleet.toml").write_text(FLEET.format(rate=rate), encoding="utf-8")
    run = CliRunner().invoke(app, ["federated", "fleet", str(tmp_path / "fleet.toml"), "--json"])
    assert run.exit_code == 0, run.output
    summary = json.loads(run.stdout)
    assert summary["evaluation"]["num_sampled"] == 25
    assert summary["evaluation"]["verdict"]["promoted"] == promoted
    assert (tmp_path / "run" / "bundle").exists() == promoted
    assert (summary["bundle_digest"] is not None) == promoted


def test_devices_do_not_judge_what_they_cannot_do(tmp_path: Path) -> None:
    config = FleetConfig(algorithm=AlgorithmOptions(name="ditto"), evaluation=JUDGED)
    with pytest.raises(InvalidOptionError, match="evaluation is for fedavg"):
        simulate_fleet(config, tmp_path)
