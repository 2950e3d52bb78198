from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edge_sdk.errors import InvalidOptionError
from federated.errors import BudgetExhaustedError, LedgerError
from federated.privacy.accounting import Spend, epsilon_by
from federated.privacy.ledger import Budget, BudgetLedger

if TYPE_CHECKING:
    from pathlib import Path

ROUND = Spend(sampling="none", sampling_rate=1.0, noise_multiplier=5.0, rounds=1)
TWENTY = Spend(sampling="none", sampling_rate=1.0, noise_multiplier=5.0, rounds=20)
BUDGET = Budget(epsilon=3.8487, delta=1e-5)  # of issue 5's golden values: 20 rounds cost 3.8486


def test_the_same_figures_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with BudgetLedger(path, BUDGET) as ledger:
        for number in range(20):
            ledger.charge("run", number, ROUND)
        spent = ledger.spent()
    with BudgetLedger(path, BUDGET) as ledger:
        assert ledger.spends() == [TWENTY]
        assert ledger.spent() == spent == pytest.approx(3.8486, abs=0.005)
        assert epsilon_by("rdp", ledger.spends(), 1e-5) == pytest.approx(4.1616, abs=0.01)


# sampling, rate, noise multiplier, rounds, RDP, PLD: issue 5's golden values
GOLDEN = [
    ("poisson", 0.01, 1.0, 1000, 2.1014, 1.8282),
    ("poisson", 0.1, 1.0, 100, 7.9039, 7.0466),
    ("poisson", 0.02, 0.8, 500, 5.3719, 4.6680),
    ("poisson", 1.0, 5.0, 20, 4.1616, 3.8486),
    ("poisson", 0.004, 1.1, 15000, 2.5029, 2.2955),
]
MORE_ROUNDS = """
INSERT INTO spends (run, server_round, sampling, sampling_rate, noise_multiplier, settled)
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ? - 1)
SELECT run, n, sampling, sampling_rate, noise_multiplier, 1 FROM spends, number
"""


@pytest.mark.parametrize(("sampling", "rate", "noise", "rounds", "rdp", "pld"), GOLDEN)
def test_the_golden_values_after_a_restart_and_one_round_more_is_refused(
    tmp_path: Path, sampling: str, rate: float, noise: float, rounds: int, rdp: float, pld: float
) -> None:
    path = tmp_path / "ledger"
    budget = Budget(epsilon=pld + 0.005, delta=1e-5)
    one = Spend(sampling=sampling, sampling_rate=rate, noise_multiplier=noise, rounds=1)
    with BudgetLedger(path, budget) as ledger:
        ledger.charge("run", 0, one)
    with sqlite3.connect(path) as db:  # as that many charges leave it, without their seconds
        db.execute(MORE_ROUNDS, (rounds,))
    db.close()
    with BudgetLedger(path, budget) as ledger:
        assert [entry.rounds for entry in ledger.spends()] == [rounds]
        spent = ledger.spent()
        assert spent == pytest.approx(pld, abs=0.005)
        assert epsilon_by("rdp", ledger.spends(), 1e-5) == pytest.approx(rdp, abs=0.01)
    again = tmp_path / "exhausted"
    shutil.copy(path, again)
    with sqlite3.connect(again) as db:  # the same spends under a budget that is exactly theirs
        db.execute("UPDATE budget SET epsilon = ?", (spent,))
    db.close()
    with BudgetLedger(again, replace(budget, epsilon=spent)) as ledger:
        with pytest.raises(BudgetExhaustedError):
            ledger.charge("run", rounds, one)
        assert [entry.rounds for entry in ledger.spends()] == [rounds]


def test_the_budget_is_a_hard_stop_before_and_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with BudgetLedger(path, BUDGET) as ledger:
        for number in range(20):
            ledger.charge("run", number, ROUND)
        with pytest.raises(BudgetExhaustedError, match="the budget is"):
            ledger.charge("run", 20, ROUND)
    before = path.read_bytes()
    with BudgetLedger(path, BUDGET) as ledger:
        with pytest.raises(BudgetExhaustedError):
            ledger.charge("another run", 0, ROUND)
        assert ledger.spends() == [TWENTY]
    assert path.read_bytes() == before


def test_a_plan_is_checked_as_a_whole_and_costs_nothing(tmp_path: Path) -> None:
    with BudgetLedger(tmp_path / "ledger", BUDGET) as ledger:
        ledger.check_affordable(TWENTY)
        ledger.charge("run", 0, ROUND)
        with pytest.raises(BudgetExhaustedError):
            ledger.check_affordable(TWENTY)
        assert [entry.rounds for entry in ledger.spends()] == [1]


def test_an_attempt_without_an_outcome_is_the_same_spend_a_settled_one_is_not(
    tmp_path: Path,
) -> None:
    with BudgetLedger(tmp_path / "ledger", BUDGET) as ledger:
        ledger.charge("run", 0, ROUND)
        ledger.charge("run", 0, ROUND)
        assert ledger.num_open("run") == 1
        assert [entry.rounds for entry in ledger.spends()] == [1]
        ledger.settle("run", 0)
        ledger.charge("run", 0, ROUND)  # its checkpoint was removed, and it is run again
        assert [entry.rounds for entry in ledger.spends()] == [2]


def test_what_was_settled_last_and_by_whom(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with BudgetLedger(path, BUDGET) as ledger:
        assert ledger.last_settled("run") == -1
        assert not ledger.has_others(["run"])
        ledger.charge("run", 4, ROUND)
        ledger.settle("run", 4)
        ledger.settle("run", 2)
        ledger.charge("run", 6, ROUND)
        assert (ledger.num_open("run"), ledger.num_open("run", since=7)) == (1, 0)
    with BudgetLedger(path, BUDGET) as ledger:
        assert (ledger.last_settled("run"), ledger.last_settled("other")) == (4, -1)
        assert ledger.has_others(["other"])
        assert not ledger.has_others(["other", "run"])


def test_a_ledger_that_was_begun_before_progress_was_kept_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with BudgetLedger(path, BUDGET) as ledger:
        ledger.charge("run", 0, ROUND)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE progress")
    db.close()
    with BudgetLedger(path, BUDGET) as ledger:
        ledger.settle("run", 0)
        assert ledger.last_settled("run") == 0
        assert ledger.spends() == [replace(ROUND, rounds=1)]


def test_unlike_rounds_add_up(tmp_path: Path) -> None:
    other = Spend(sampling="poisson", sampling_rate=0.1, noise_multiplier=2.0, rounds=1)
    with BudgetLedger(tmp_path / "ledger", BUDGET) as ledger:
        ledger.charge("a", 0, ROUND)
        ledger.charge("b", 0, other)
        assert ledger.spends() == [ROUND, other]
        assert ledger.spent() == epsilon_by("pld", [ROUND, other], 1e-5)


def test_a_run_does_not_change_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    BudgetLedger(path, BUDGET).close()
    with pytest.raises(InvalidOptionError, match="begun with epsilon"):
        BudgetLedger(path, Budget(epsilon=100.0, delta=1e-5))


def test_a_damaged_missing_or_newer_ledger_is_refused(tmp_path: Path) -> None:
    damaged, newer = tmp_path / "damaged", tmp_path / "newer"
    damaged.write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerError):
        BudgetLedger(damaged, BUDGET)
    with pytest.raises(LedgerError):
        BudgetLedger(tmp_path / "no folder" / "ledger", BUDGET)
    BudgetLedger(newer, BUDGET).close()
    with sqlite3.connect(newer) as db:
        db.execute("UPDATE budget SET schema = 9")
    db.close()
    with pytest.raises(LedgerError, match="schema 9"):
        BudgetLedger(newer, BUDGET)


KILLED = """
import os, sys
from federated.privacy.accounting import Spend
from federated.privacy.ledger import Budget, BudgetLedger
ledger = BudgetLedger(sys.argv[1], Budget(epsilon=3.8487, delta=1e-5, accountant="rdp"))
spend = Spend(sampling="none", sampling_rate=1.0, noise_multiplier=50.0, rounds=1)
for number in range(3):
    ledger.charge("run", number, spend)
os.kill(os.getpid(), 9)
"""


def test_a_killed_process_has_spent_what_it_recorded(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -9
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    budget = Budget(epsilon=3.8487, delta=1e-5, accountant="rdp")
    with BudgetLedger(tmp_path.with_name("copy") / "ledger", budget) as ledger:
        assert [entry.rounds for entry in ledger.spends()] == [3]
