from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from edge_sdk import open_bundle
from edge_sdk.cli.app import app
from edge_sdk.errors import InvalidOptionError
from federated.errors import TooFewContributorsError
from federated.fleet.config import FleetConfig
from federated.fleet.options import (
    AlgorithmOptions,
    AttackOptions,
    FleetRoundOptions,
    PopulationOptions,
)
from federated.fleet.run import round_options, run_fleet, simulate_fleet
from federated.privacy.options import PrivacyOptions
from federated.simulate import SimulatedClient, simulate
from tests.unit.federated.fleet.conftest import ALWAYS, NO_DROPOUT, some_data

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sdk import Engine
    from federated.fleet.run import FleetResult

PEOPLE = PopulationOptions(devices=60, examples=9)
CONFIG = FleetConfig(round=FleetRoundOptions(rounds=4, replies=20), evaluate_every=2)


def run(
    engine: Engine, config: FleetConfig = CONFIG, people: PopulationOptions = PEOPLE
) -> FleetResult:
    return run_fleet(engine, some_data(engine, people), config)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_repeats_bit_for_bit_whatever_the_threads(
    gradient_engine: Engine,
    asynchronous: bool,
) -> None:
    config = replace(CONFIG, algorithm=AlgorithmOptions(asynchronous=asynchronous))
    first, second = (run(gradient_engine, replace(config, threads=threads)) for threads in (1, 3))
    for name, value in first.shared.items():
        np.testing.assert_array_equal(value, second.shared[name])
    assert first.reports == second.reports
    assert first.visits == second.visits


def test_rounds_help_people_who_took_no_part(gradient_engine: Engine) -> None:
    result = run(gradient_engine, replace(CONFIG, round=replace(CONFIG.round, rounds=15)))
    assert result.before.mean() > 0.8
    assert len(result.before) == len(result.after) == 6


def test_a_fleet_that_is_always_there_is_the_plain_simulator_to_the_bit(
    gradient_engine: Engine,
) -> None:
    """One round core: the virtual clock changes who takes part, and nothing else."""
    config = replace(
        CONFIG,
        availability=ALWAYS,
        dropout=NO_DROPOUT,
        round=FleetRoundOptions(rounds=3, replies=60, over_selection=1.0),
    )
    data = some_data(gradient_engine, PEOPLE)
    found = run_fleet(gradient_engine, data, config)
    clients = [
        SimulatedClient(
            client_id=f"device-{i:05d}",
            features=data.examples(i).features,
            slots=data.examples(i).slots,
        )
        for i in range(60)
    ]
    want = simulate(gradient_engine, clients, round_options(config, 60))
    assert found.reports == want.reports
    for name, value in want.shared.items():
        np.testing.assert_array_equal(found.shared[name], value)


def test_a_median_withstands_attackers_that_ruin_the_mean(gradient_engine: Engine) -> None:
    rules = FleetRoundOptions(rounds=10, replies=30, clipping_norm=1e6)
    attack = AttackOptions(kind="sign-flip", share=0.3, boost=10.0)

    def accuracy(**changes: object) -> float:
        config = replace(CONFIG, round=rules, **changes)  # type: ignore[arg-type]
        return float(run(gradient_engine, config).before.mean())

    honest = accuracy()
    assert accuracy(attack=attack) < honest - 0.2
    robust = replace(rules, aggregator="median")
    config = replace(CONFIG, round=robust, attack=attack)
    assert float(run(gradient_engine, config).before.mean()) > honest - 0.05


def test_more_devices_than_fit_in_memory_at_once_are_trained_in_parts(
    gradient_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = run(gradient_engine)
    monkeypatch.setattr("federated.fleet.training._AT_ONCE", 7)
    found = run(gradient_engine)
    for name, value in want.shared.items():
        np.testing.assert_array_equal(value, found.shared[name])


TEXT = """
bundle = "patches"
out = "run"
evaluate_every = 1
[population]
source = "digits"
persons = 6
devices = 12
held_out = 4
examples = 8
max_classes = 4
[round]
rounds = 3
replies = 5
"""


@pytest.fixture
def config_file(patches_bundle: Path, tmp_path: Path) -> Path:
    assert patches_bundle.parent == tmp_path
    path = tmp_path / "fleet.toml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_the_command_writes_metrics_a_summary_and_the_next_bundle(
    config_file: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["federated", "fleet", str(config_file), "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    out = tmp_path / "run"
    new = open_bundle(out / "bundle")
    assert (new.digest, new.manifest.parent) == (summary["bundle_digest"], summary["start_digest"])
    assert new.manifest.provenance["federated"][0]["num_clients"] == 12
    lines = [json.loads(line) for line in (out / "run.jsonl").read_text().splitlines()]
    assert [lines[0]["kind"], lines[0]["source"]] == ["run", "fleet"]
    assert lines[0]["settings"]["round"]["replies"] == 5
    rounds = lines[1:-1]
    assert lines[-1]["bundle_digest"] == summary["bundle_digest"]
    assert [line["server_round"] for line in rounds] == [0, 1, 2]
    assert summary["updates"] == sum(line["num_accepted"] for line in rounds)
    assert summary["bytes_up"] == sum(line["fleet"]["bytes_up"] for line in rounds)
    assert summary["bytes_up"] == sum(line["traffic"]["bytes_up"] for line in rounds)
    lost = sum(sum(line["lost"].values()) for line in rounds)
    assert lost == sum(line["fleet"]["asked"] - line["fleet"]["finished"] for line in rounds)
    last = rounds[-1]["evaluation"]
    assert last["after_teaching"] == summary["after_teaching"]
    assert last["before_teaching"]["people"] == 4
    assert summary["virtual_hours"] > 0


def test_the_command_prints_tables_for_people(config_file: Path) -> None:
    result = CliRunner().invoke(app, ["federated", "fleet", str(config_file)])
    assert result.exit_code == 0, result.output
    assert "worst tenth" in result.stdout
    assert "lost training" in result.stdout


def test_private_rounds_sample_from_all_devices_and_say_what_they_cost(
    config_file: Path, tmp_path: Path
) -> None:
    private = "[privacy]\nnoise_multiplier = 5.0\nepsilon = 50.0\ndelta = 1e-3\n"
    config_file.write_text(TEXT + private, encoding="utf-8")
    result = CliRunner().invoke(app, ["federated", "fleet", str(config_file), "--json"])
    assert result.exit_code == 0, result.output
    privacy = json.loads(result.stdout)["privacy"]
    assert 0 < privacy["epsilon"] < 50
    assert privacy["sampling_rate"] == pytest.approx(5 / 12)
    assert any(text.startswith("NOT MET") for text in privacy["assumptions"])
    lines = [json.loads(line) for line in (tmp_path / "run" / "run.jsonl").read_text().splitlines()]
    assert lines[0]["budget"] == {"epsilon": 50.0, "delta": 1e-3}
    spent = [line["epsilon"] for line in lines[1:]]
    assert 0 < spent[0] < spent[1] < spent[2] <= spent[3] == privacy["epsilon"]
    lines = lines[:-1]
    assert all(line["noise_deviation"] > 0 for line in lines[1:])
    # who had not checked in may be asked, and is lost; a reply never closes a round
    assert sum(line["fleet"]["lost_before_start"] for line in lines[1:]) > 0
    assert not any(line["fleet"]["late"] for line in lines[1:])
    # what was sent, was sent to those who were there
    for line in lines[1:]:
        assert line["traffic"]["devices_down"] == line["fleet"]["reached"]
    assert any(line["fleet"]["reached"] < line["fleet"]["asked"] for line in lines[1:])


DISTRIBUTED = """
[round]
rounds = 2
replies = 8
clipping_norm = 5.0
[dropout]
before_start = 0.0
training = 0.0
upload = 0.2
[availability]
require_charging = false
require_wifi = false
[privacy]
noise_multiplier = 5.0
epsilon = 50.0
delta = 1e-3
sampling = "none"
noise = "distributed"
min_contributors = MIN
"""


def test_devices_add_the_noise_and_the_server_sees_a_sum(config_file: Path, tmp_path: Path) -> None:
    text = TEXT[: TEXT.index("[round]")] + DISTRIBUTED.replace("MIN", "4")
    config_file.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["federated", "fleet", str(config_file), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["privacy"]["noise"] == "distributed"
    lines = [
        line
        for text in (tmp_path / "run" / "run.jsonl").read_text().splitlines()
        if (line := json.loads(text))["kind"] == "round"
    ]
    assert lines
    for line in lines:
        came = line["fleet"]["finished"]
        assert line["num_accepted"] == came
        assert line["num_missing"] == 12 - came
        # a share is sized for four devices; more of them only add noise
        assert line["noise_deviation"] == pytest.approx(5 * 5.0 * (came / 4) ** 0.5, rel=0.02)


def test_too_little_noise_is_not_released(config_file: Path, tmp_path: Path) -> None:
    text = TEXT[: TEXT.index("[round]")] + DISTRIBUTED.replace("MIN", "12")
    config_file.write_text(text.replace("upload = 0.2", "upload = 0.9"), encoding="utf-8")
    result = CliRunner().invoke(app, ["federated", "fleet", str(config_file)])
    assert result.exit_code == 0, result.output
    rounds = [
        line
        for text in (tmp_path / "run" / "run.jsonl").read_text().splitlines()
        if (line := json.loads(text))["kind"] == "round"
    ]
    assert rounds
    for line in rounds:
        assert line["num_accepted"] == 0
        assert line["given_up"] == {TooFewContributorsError.code: 1}


def test_private_rounds_are_synchronous(gradient_engine: Engine, tmp_path: Path) -> None:
    config = replace(CONFIG, algorithm=AlgorithmOptions(asynchronous=True))
    data = some_data(gradient_engine, PEOPLE)
    with pytest.raises(InvalidOptionError, match="private rounds are synchronous"):
        run_fleet(gradient_engine, data, config, privacy=object())  # type: ignore[arg-type]
    private = replace(config, privacy=PrivacyOptions())
    with pytest.raises(InvalidOptionError, match="private rounds are synchronous"):
        simulate_fleet(private, tmp_path)
    assert not (tmp_path / config.out).exists()


def test_what_is_there_is_not_overwritten(config_file: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(InvalidOptionError, match="exists; name a folder that does not"):
        simulate_fleet(FleetConfig(bundle="patches", out="run"), tmp_path)
    result = CliRunner().invoke(app, ["federated", "fleet", str(config_file)])
    assert result.exit_code != 0
    assert "exists" in result.stderr


def test_a_bundle_of_other_labels_is_refused(tiny_labelled_bundle: Path, tmp_path: Path) -> None:
    people = PopulationOptions(source="digits", devices=4, held_out=2, max_classes=2, examples=3)
    config = FleetConfig(bundle=tiny_labelled_bundle.name, population=people)
    with pytest.raises(InvalidOptionError, match="names other labels"):
        simulate_fleet(config, tmp_path)
    assert not (tmp_path / config.out).exists()
