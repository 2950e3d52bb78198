from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from edge_sdk.cli.app import app
from edge_sdk.errors import InvalidOptionError
from federated.privacy.accounting import (
    Spend,
    epsilon,
    epsilon_by,
    noise_multiplier_for,
    relation,
    zcdp,
)

DELTA = 1e-5
# sampling rate, noise multiplier, rounds, RDP, PLD: issue 5's golden values
GOLDEN = [
    (0.01, 1.0, 1000, 2.1014, 1.8282),
    (0.1, 1.0, 100, 7.9039, 7.0466),
    (0.02, 0.8, 500, 5.3719, 4.6680),
    (1.0, 5.0, 20, 4.1616, 3.8486),
    (0.004, 1.1, 15000, 2.5029, 2.2955),
]


def spend(rate: float, noise: float, rounds: int, sampling: str = "poisson") -> Spend:
    return Spend(sampling=sampling, sampling_rate=rate, noise_multiplier=noise, rounds=rounds)


@pytest.mark.parametrize(("rate", "noise", "rounds", "rdp", "pld"), GOLDEN)
def test_golden_values(rate: float, noise: float, rounds: int, rdp: float, pld: float) -> None:
    got = epsilon([spend(rate, noise, rounds)], DELTA)
    assert got.rdp == pytest.approx(rdp, abs=0.01)
    assert got.pld == pytest.approx(pld, abs=0.005)


@pytest.mark.parametrize("sampling", ["fixed", "none"])
def test_only_poisson_sampling_is_amplified(sampling: str) -> None:
    got = epsilon([spend(0.01, 5.0, 20, sampling)], DELTA)
    assert got == epsilon([spend(1.0, 5.0, 20)], DELTA)
    assert relation([spend(0.01, 5.0, 20, sampling)]) == "zero-out"
    assert relation([spend(0.01, 5.0, 20)]) == "add-or-remove-one"


def test_parts_cost_what_the_whole_costs_and_nothing_costs_nothing() -> None:
    whole = epsilon_by("rdp", [spend(0.1, 1.0, 100)], DELTA)
    assert epsilon_by("rdp", [spend(0.1, 1.0, 40), spend(0.1, 1.0, 60)], DELTA) == pytest.approx(
        whole
    )
    assert epsilon_by("rdp", [], DELTA) == 0
    assert zcdp([spend(0.1, 2.0, 8)]) == pytest.approx(1.0)


@pytest.mark.parametrize("accountant", ["rdp", "pld"])
def test_the_inverse_gives_the_least_noise(accountant: str) -> None:
    z = noise_multiplier_for(
        accountant, 3.0, DELTA, sampling="poisson", sampling_rate=1.0, rounds=20
    )
    cost = epsilon_by(accountant, [spend(1.0, z, 20)], DELTA)
    assert 3.0 * (1 - 1e-3) <= cost <= 3.0


@pytest.mark.parametrize(
    ("rate", "noise", "rounds"),
    [(0.0, 1.0, 1), (1.1, 1.0, 1), (1.0, 0.0, 1), (1.0, 1e-3, 1), (1.0, 1.0, 0)],
)
def test_what_makes_no_sense_is_refused(rate: float, noise: float, rounds: int) -> None:
    with pytest.raises(InvalidOptionError):
        spend(rate, noise, rounds)
    with pytest.raises(InvalidOptionError, match="delta"):
        epsilon([spend(1, 1, 1)], 0.0)
    with pytest.raises(InvalidOptionError, match="sampling"):
        spend(1, 1, 1, "shuffled")


def ask(*arguments: object) -> dict[str, object]:
    result = CliRunner().invoke(
        app, ["federated", "epsilon", *map(str, arguments), "--delta", "1e-5", "--json"]
    )
    assert result.exit_code == 0, result.stderr
    answer: dict[str, object] = json.loads(result.stdout)
    return answer


def test_a_coordinator_asks_in_both_directions() -> None:
    forth = ask("--sampling-rate", 1, "--noise-multiplier", 5, "--rounds", 20)
    assert forth["rdp"] == pytest.approx(4.1616, abs=0.01)
    assert forth["pld"] == pytest.approx(3.8486, abs=0.005)
    assert (forth["unit"], forth["relation"]) == ("user", "add-or-remove-one")
    back = ask("--sampling-rate", 1, "--epsilon", forth["pld"], "--rounds", 20)
    assert back["pld"] == pytest.approx(5.0, rel=1e-3)
    fixed = ask(
        "--sampling-rate", 0.5, "--noise-multiplier", 5, "--rounds", 20, "--sampling", "fixed"
    )
    assert fixed["pld"] == forth["pld"]


def test_people_get_a_table() -> None:
    asked = ["--sampling-rate", "1", "--noise-multiplier", "5", "--rounds", "20", "--delta", "1e-5"]
    result = CliRunner().invoke(app, ["federated", "epsilon", *asked, "--sampling", "none"])
    assert result.exit_code == 0, result.stderr
    assert "PLD" in result.stdout
    assert "3.84" in result.stdout
    assert "zero-out" in result.stdout


def test_one_question_at_a_time() -> None:
    result = CliRunner().invoke(
        app, ["federated", "epsilon", "--sampling-rate", "1", "--rounds", "2", "--delta", "1e-5"]
    )
    assert result.exit_code != 0
