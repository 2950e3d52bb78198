"""The privacy budget on disk: what was spent, recorded before anything is released.

One sqlite3 file for one population of users. It is the hard stop: a spend that would exceed the
budget is refused and leaves no trace, whichever process asks, before and after any restart.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from edge_sdk.errors import InvalidOptionError
from federated.errors import BudgetExhaustedError, LedgerError
from federated.privacy.accounting import Spend, epsilon_by
from federated.privacy.options import ACCOUNTANTS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from types import TracebackType

SCHEMA = 1
_BUSY_S = 30.0
_TABLES = (
    """CREATE TABLE budget (
        id INTEGER PRIMARY KEY CHECK (id = 1), schema INTEGER NOT NULL,
        epsilon REAL NOT NULL, delta REAL NOT NULL, accountant TEXT NOT NULL)""",
    """CREATE TABLE spends (
        id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, server_round INTEGER NOT NULL,
        sampling TEXT NOT NULL, sampling_rate REAL NOT NULL, noise_multiplier REAL NOT NULL,
        settled INTEGER NOT NULL DEFAULT 0)""",
)
_PROGRESS = """CREATE TABLE IF NOT EXISTS progress (
    run TEXT PRIMARY KEY, last_settled INTEGER NOT NULL)"""
"""Beside the spends: a tree's rounds are paid for with its first, and have no row of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Epsilon at delta, and the accountant whose figure counts."""

    epsilon: float
    delta: float
    accountant: str = "pld"

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < float("inf") or not 0 < self.delta < 1:
            msg = "a budget needs a finite epsilon > 0 and a delta in (0, 1)"
            raise InvalidOptionError(msg)
        if self.accountant not in ACCOUNTANTS:
            msg = f"accountant must be one of {', '.join(ACCOUNTANTS)}, got {self.accountant!r}"
            raise InvalidOptionError(msg)


class BudgetLedger:
    """An open ledger; not for several threads, but for several processes."""

    def __init__(self, path: str | os.PathLike[str], budget: Budget) -> None:
        """Open the ledger at `path`, or begin one with `budget`.

        Raises:
            InvalidOptionError: It was begun with another budget.
            LedgerError: It cannot be read or written, or is of a newer version.
        """
        self.budget = budget
        self._affordable: dict[tuple[object, ...], int] = {}
        try:
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        except sqlite3.Error as error:
            msg = f"the ledger cannot be opened: {error}"
            raise LedgerError(msg) from error
        try:
            self._begin(budget)
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        """The ledger itself; it is closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; all spends are on the disk already."""
        self._db.close()

    def charge(self, run: str, server_round: int, spend: Spend) -> None:
        """Record what a round will cost, on the disk, before anything of it is released.

        A round that was charged but never settled released nothing: its attempt after a restart is
        the same spend. One that was settled is charged again.

        Args:
            run: The run's id.
            server_round: The round's number.
            spend: What one attempt costs; `rounds` is 1.

        Raises:
            BudgetExhaustedError: The budget does not allow it. Nothing is recorded.
            LedgerError: The ledger cannot be read or written.
        """
        if spend.rounds != 1:
            msg = "a round is charged by itself: spend.rounds must be 1"
            raise InvalidOptionError(msg)
        with self._transaction():
            open_attempt = self._db.execute(
                "SELECT sampling, sampling_rate, noise_multiplier FROM spends "
                "WHERE run = ? AND server_round = ? AND settled = 0",
                (run, server_round),
            ).fetchone()
            wanted = (spend.sampling, spend.sampling_rate, spend.noise_multiplier)
            if open_attempt is not None and tuple(open_attempt) == wanted:
                return
            self._check(spend, 1)
            self._db.execute(
                "INSERT INTO spends (run, server_round, sampling, sampling_rate, noise_multiplier) "
                "VALUES (?, ?, ?, ?, ?)",
                (run, server_round, *wanted),
            )

    def settle(self, run: str, server_round: int) -> None:
        """Say that the rounds up to `server_round` have their outcome: no other attempt is free."""
        with self._transaction():
            self._db.execute(
                "UPDATE spends SET settled = 1 WHERE run = ? AND server_round <= ?",
                (run, server_round),
            )
            self._db.execute(
                "INSERT INTO progress VALUES (?, ?) ON CONFLICT (run) DO UPDATE "
                "SET last_settled = MAX(last_settled, excluded.last_settled)",
                (run, server_round),
            )

    def last_settled(self, run: str) -> int:
        """The last round of a run that has its outcome; -1 where none has."""
        with self._errors():
            row = self._db.execute(
                "SELECT last_settled FROM progress WHERE run = ?", (run,)
            ).fetchone()
        return -1 if row is None else int(row[0])

    def num_open(self, run: str, since: int = 0) -> int:
        """Rounds of a run, from `since` on, that are charged and have no outcome: paid for."""
        with self._errors():
            row = self._db.execute(
                "SELECT COUNT(*) FROM spends WHERE run = ? AND settled = 0 AND server_round >= ?",
                (run, since),
            ).fetchone()
        return int(row[0])

    def has_others(self, runs: Sequence[str]) -> bool:
        """Whether anything was spent under other names than these."""
        with self._errors():
            rows = self._db.execute("SELECT DISTINCT run FROM spends").fetchall()
        return any(run not in runs for (run,) in rows)

    def check_affordable(self, spend: Spend, *more: Spend) -> None:
        """Raise `BudgetExhaustedError` if all of these, of any number of rounds, are too much."""
        with self._transaction():
            self._check(spend, spend.rounds, more)

    def spends(self) -> list[Spend]:
        """All that was spent, equal mechanisms together."""
        with self._errors():
            rows = self._db.execute(
                "SELECT sampling, sampling_rate, noise_multiplier, COUNT(*) FROM spends "
                "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
            ).fetchall()
        return [
            Spend(sampling=sampling, sampling_rate=rate, noise_multiplier=noise, rounds=count)
            for sampling, rate, noise, count in rows
        ]

    def spent(self) -> float:
        """Epsilon spent so far, by the budget's accountant at its delta."""
        return epsilon_by(self.budget.accountant, self.spends(), self.budget.delta)

    def _check(self, spend: Spend, rounds: int, more: Sequence[Spend] = ()) -> None:
        """Refuse `rounds` more of `spend`; what was found affordable is not computed again."""
        mechanism = (spend.sampling, spend.sampling_rate, spend.noise_multiplier)
        before = 0
        others = list(more)
        for entry in self.spends():
            if (entry.sampling, entry.sampling_rate, entry.noise_multiplier) == mechanism:
                before = entry.rounds
            else:
                others.append(entry)
        total = before + rounds
        key = (mechanism, *others)
        if total <= self._affordable.get(key, 0):
            return
        together = Spend(
            sampling=spend.sampling,
            sampling_rate=spend.sampling_rate,
            noise_multiplier=spend.noise_multiplier,
            rounds=total,
        )
        cost = epsilon_by(self.budget.accountant, [*others, together], self.budget.delta)
        if not cost <= self.budget.epsilon:
            msg = (
                f"{rounds} more of these rounds would bring epsilon to {cost:.4g} at delta "
                f"{self.budget.delta:g}; the budget is {self.budget.epsilon:g}: run fewer rounds, "
                "or add noise"
            )
            raise BudgetExhaustedError(msg)
        self._affordable[key] = total

    def _begin(self, budget: Budget) -> None:
        with self._errors():
            self._db.execute("PRAGMA synchronous = EXTRA")
        with self._transaction():
            known = self._db.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'budget' AND type = 'table'"
            ).fetchone()
            if known is None:
                for table in _TABLES:
                    self._db.execute(table)
                self._db.execute(
                    "INSERT INTO budget VALUES (1, ?, ?, ?, ?)",
                    (SCHEMA, budget.epsilon, budget.delta, budget.accountant),
                )
                self._db.execute(_PROGRESS)
                return
            schema, *rest = self._db.execute(
                "SELECT schema, epsilon, delta, accountant FROM budget"
            ).fetchone() or (None,)
        if schema != SCHEMA:
            msg = f"the ledger is of schema {schema}, this version reads {SCHEMA}"
            raise LedgerError(msg)
        epsilon, delta, accountant = rest
        if (epsilon, delta, accountant) != (budget.epsilon, budget.delta, budget.accountant):
            msg = (
                f"the ledger was begun with epsilon {epsilon:g}, delta {delta:g} by {accountant}; "
                "a run does not change a budget: use those, or another population's ledger"
            )
            raise InvalidOptionError(msg)
        with self._transaction():
            self._db.execute(_PROGRESS)  # ledgers that were begun before it was kept lack it

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One writer at a time; all or nothing, and on the disk when the block ends."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            msg = f"the privacy ledger cannot be read or written: {error}"
            raise LedgerError(msg) from error
