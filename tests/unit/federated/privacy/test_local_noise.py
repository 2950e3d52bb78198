"""Local noise: as claimed in the mean, a bound on what arrives, a budget of the device's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from edge_sdk.grid import flatten
from edge_sdk.random_words import SeededWords
from edge_sdk.update import ModelUpdate, clip_to_norm, joint_norm
from federated.errors import BudgetExhaustedError, LedgerError
from federated.privacy.accounting import Spend, epsilon_by
from federated.privacy.local_budget import FILE_NAME, LocalBudget, epsilon_of_rho
from federated.privacy.mechanism import local_rho, noised_update, plan_noise
from federated.privacy.options import PrivacyOptions
from federated.privacy.report import privacy_report
from federated.round_core import PrivateRounds, Reply, RoundOptions, RoundTask, run_rounds

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "d" * 64
CLIENTS = [f"c{i:02d}" for i in range(12)]
SHARED = {"a": np.zeros((100, 50), np.float32), "b": np.zeros(7, np.float32)}
SIZE = 5007
NORM = 2.0
OPTIONS = PrivacyOptions(noise="local", noise_multiplier=0.7, sampling="fixed")
ROUNDS = RoundOptions(rounds=1, cohort_size=12, clipping_norm=NORM)


def words(*seed: int) -> SeededWords:
    return SeededWords(np.random.default_rng(seed))


def rounds() -> PrivateRounds:
    return PrivateRounds(
        options=OPTIONS,
        charge=lambda _: None,
        settle=lambda _: None,
        words=lambda number, purpose: words(number, *purpose.encode()),
    )


def updates() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return {
        client: clip_to_norm(
            {name: rng.normal(size=v.shape).astype(np.float32) for name, v in SHARED.items()}, NORM
        )
        for client in CLIENTS
    }


@pytest.mark.parametrize("missing", [0, 5])
def test_the_noise_in_the_mean_is_what_is_claimed(missing: int) -> None:
    known = updates()

    def collect(task: RoundTask) -> list[Reply]:
        assert task.device_noise is not None
        assert task.arriving_norm is not None
        replies = []
        for i, client in enumerate(task.cohort[missing:]):
            delta = noised_update(known[client], task.clipping_norm, task.device_noise, words(9, i))
            assert NORM < joint_norm(delta) < task.arriving_norm
            replies.append(Reply(client_id=client, update=ModelUpdate(DIGEST, delta)))
        return replies

    result = run_rounds(SHARED, CLIENTS, DIGEST, ROUNDS, collect, privacy=rounds())
    (report,) = result.reports
    assert (report.num_accepted, report.num_clipped) == (12 - missing, 0)
    exact = np.sum([flatten(known[client]).astype(float) for client in CLIENTS[missing:]], axis=0)
    noise = flatten(result.shared) * report.denominator - exact
    assert noise.std() == pytest.approx(report.noise_deviation, rel=0.03)
    # one device's noise is over twice the norm: two updates of a user lie that far apart
    assert report.noise_deviation >= 0.7 * 2 * NORM * np.sqrt(12 - missing)


def test_a_hostile_update_moves_the_mean_no_more_than_noise_could() -> None:
    def collect(task: RoundTask) -> list[Reply]:
        huge = {name: np.full_like(value, 1e20) for name, value in SHARED.items()}
        return [Reply(client_id=task.cohort[0], update=ModelUpdate(DIGEST, huge))]

    result = run_rounds(SHARED, CLIENTS, DIGEST, ROUNDS, collect, privacy=rounds())
    bound = plan_noise(OPTIONS, NORM, SIZE).arriving_norm
    assert bound is not None
    assert joint_norm(result.shared) <= bound / 12 * (1 + 1e-6)
    assert result.reports[0].num_clipped == 1


def test_local_noise_claims_no_amplification() -> None:
    with pytest.raises(InvalidOptionError, match="fixed"):
        PrivacyOptions(noise="local", sampling="poisson")
    with pytest.raises(InvalidOptionError, match="central noise"):
        PrivacyOptions(noise="local", sampling="fixed", target_quantile=0.5)


def test_the_report_says_whom_the_noise_is_against() -> None:
    spend = Spend(sampling="fixed", sampling_rate=1.0, noise_multiplier=0.7, rounds=1)
    report = privacy_report([spend], OPTIONS, 0.5, seeded=False)
    assert (report.noise, report.relation) == ("local", "any-two-data-sets")
    assert any("nobody else is trusted" in said for said in report.assumptions)
    assert not any("server adds" in said for said in report.assumptions)


def test_beside_other_runs_a_report_claims_what_holds_for_all_of_them() -> None:
    spend = Spend(sampling="fixed", sampling_rate=1.0, noise_multiplier=0.7, rounds=2)
    report = privacy_report([spend], OPTIONS, 0.5, seeded=False, after_others=True)
    assert report.relation == "zero-out"
    assert any("earlier runs" in said for said in report.assumptions)
    alone = privacy_report([spend], OPTIONS, 0.5, seeded=False)
    assert not any("earlier runs" in said for said in alone.assumptions)


# --- the device's own accountant -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("multiplier", "count", "delta"), [(1.0, 1, 1e-5), (5.0, 1, 1e-9), (30.0, 50, 1e-5)]
)
def test_epsilon_is_that_of_renyi_accounting(multiplier: float, count: int, delta: float) -> None:
    spend = Spend(sampling="none", sampling_rate=1.0, noise_multiplier=multiplier, rounds=count)
    rho = count / (2 * multiplier**2)
    theirs = epsilon_by("rdp", [spend], delta)
    assert epsilon_of_rho(rho, delta) <= theirs * (1 + 1e-6)  # they look at some orders only
    assert epsilon_of_rho(rho, delta) == pytest.approx(theirs, rel=0.05)
    assert epsilon_of_rho(rho, delta) >= epsilon_by("pld", [spend], delta) * (1 - 1e-6)


def test_a_round_costs_what_its_noise_says() -> None:
    noise = plan_noise(OPTIONS, NORM, SIZE).device
    assert noise is not None
    assert local_rho(noise, NORM, SIZE) == pytest.approx(1 / (2 * 0.7**2), rel=1e-3)
    assert local_rho(noise, NORM, SIZE) <= 1 / (2 * 0.7**2)


def test_a_device_stops_at_its_budget_after_a_restart_too(tmp_path: Path) -> None:
    totals = [LocalBudget(tmp_path, 4.0, 1e-5).spend(0.05).total_epsilon for _ in range(5)]
    assert totals == sorted(totals)
    assert totals[-1] == pytest.approx(epsilon_of_rho(0.25, 1e-5))
    with pytest.raises(BudgetExhaustedError):
        LocalBudget(tmp_path, 4.0, 1e-5).spend(0.5)
    assert LocalBudget(tmp_path, 4.0, 1e-5).spent() == pytest.approx(0.25)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"rho": -1, "version": 1}', '{"rho": 0, "version": 2}', "\xff"]
)
def test_a_damaged_account_stops_the_device(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text, "latin-1")
    with pytest.raises(LedgerError, match="restore"):
        LocalBudget(tmp_path, 4.0, 1e-5).spend(0.1)
    assert (tmp_path / FILE_NAME).read_text("latin-1") == text


def test_the_account_is_one_small_file(tmp_path: Path) -> None:
    LocalBudget(tmp_path, 4.0, 1e-5).spend(0.125)
    assert json.loads((tmp_path / FILE_NAME).read_text()) == {"rho": 0.125, "version": 1}
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0
    assert {path.name for path in tmp_path.iterdir()} == {FILE_NAME, f"{FILE_NAME}.lock"}
