from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
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
