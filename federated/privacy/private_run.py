"""One private run: its options, its ledger and its randomness, as the round core wants them."""

from __future__ import annotations

import secrets
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from edge_sdk.random_words import SeededWords, SystemWords
from federated.errors import CheckpointError
from federated.evaluation.run import (
    PURPOSE,
    PrivateEvaluation,
    check_evaluation,
    evaluation_rate,
)
from federated.privacy.accounting import Spend
from federated.privacy.ledger import Budget, BudgetLedger
from federated.privacy.options import DEVICE_NOISES
from federated.privacy.report import privacy_report
from federated.rounds.planning import PrivateRounds, sampling_rate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_sdk.random_words import RandomWords
    from federated.evaluation.options import EvaluationOptions
    from federated.privacy.options import PrivacyOptions
    from federated.privacy.report import PrivacyReport
    from federated.rounds.records import RoundOptions

_EPSILONS = 20
"""How often in a run epsilon is computed for its log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivacySetup:
    """What a driver needs to run privately.

    Attributes:
        options: Noise, sampling, budget.
        ledger: The ledger's file; one for each population of users, kept for as long as they are
            asked.
        noise_seed: Makes noise and cohorts repeatable, in tests and simulations; the report then
            says that there is no guarantee. None takes the operating system's randomness.
    """

    options: PrivacyOptions
    ledger: Path
    noise_seed: int | None = None


def new_run_id() -> str:
    """An id that no other run has."""
    return secrets.token_hex(16)


class PrivateRun:
    """A run that spends from a ledger; close it, or use it in a `with` block."""

    def __init__(
        self,
        setup: PrivacySetup,
        rounds: RoundOptions,
        client_ids: Sequence[str],
        *,
        run_id: str,
        rounds_done: int = 0,
        evaluation: EvaluationOptions | None = None,
    ) -> None:
        """Open the ledger and see that all rounds that are left can be paid for.

        Args:
            setup: What the coordinator set.
            rounds: The run's rounds.
            client_ids: Who may be asked.
            run_id: The run's id; that of the run which is resumed.
            rounds_done: Rounds that have their outcome already.
            evaluation: How the candidate is judged after the last round; None: it is not.

        Raises:
            BudgetExhaustedError: They cannot; no round is begun.
            CheckpointError: It is older than what the ledger says was released of a tree.
            InvalidOptionError: The ledger was begun with another budget.
            LedgerError: The ledger cannot be read or written.
        """
        self._options, self._seed, self._id = setup.options, setup.noise_seed, run_id
        self._judging: Spend | None = None
        if evaluation is not None:
            check_evaluation(evaluation, setup.options)
        self._rate, self._num_rounds = sampling_rate(rounds, client_ids), rounds.rounds
        budget = Budget(
            epsilon=setup.options.epsilon,
            delta=setup.options.delta,
            accountant=setup.options.accountant,
        )
        self._ledger = BudgetLedger(setup.ledger, budget)
        try:
            self._check_tree(rounds_done)
            if rounds_done:
                self._ledger.settle(run_id, rounds_done - 1)
            paid = setup.options.num_charges(rounds_done) + self._ledger.num_open(run_id)
            left = setup.options.num_charges(rounds.rounds) - paid
            if left > 0:
                self._ledger.check_affordable(self._spend(left))
            if evaluation is not None:
                self._judging = self._spend_on(evaluation, len(set(client_ids)))
                planned = [self._spend(left)] if left > 0 else []
                if not self._ledger.num_open(self._judging_id, since=rounds.rounds):
                    self._ledger.check_affordable(self._judging, *planned)
        except BaseException:
            self._ledger.close()
            raise

    def __enter__(self) -> Self:
        """The run itself; its ledger is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger.close()

    def rounds(self) -> PrivateRounds:
        """What the round core is given."""
        return PrivateRounds(
            options=self._options,
            charge=self._charge,
            settle=lambda number: self._ledger.settle(self._id, number),
            words=self.words,
        )

    def evaluation(self, server_round: int) -> PrivateEvaluation | None:
        """What the judging of the candidate after so many rounds is given; None where it is off."""
        spend = self._judging
        if spend is None:
            return None
        key = self._judging_id
        return PrivateEvaluation(
            sampling=self._options.sampling,
            charge=lambda: self._ledger.charge(key, server_round, spend),
            settle=lambda: self._ledger.settle(key, server_round),
            words=lambda what: self.words(server_round, f"{PURPOSE}-{what}"),
        )

    def words(self, server_round: int, purpose: str) -> RandomWords:
        """Randomness for one purpose of one round."""
        if self._seed is None:
            return SystemWords()
        key = [self._seed, server_round, zlib.crc32(purpose.encode())]
        return SeededWords(np.random.default_rng(key))

    def spent(self) -> float:
        """Epsilon spent on this population so far, by the accountant that the budget is held to."""
        return self._ledger.spent()

    def epsilon(self, server_round: int) -> float | None:
        """What has been spent after a round, for the run's log.

        None for most rounds of a long run: by loss distributions it takes half a second.
        """
        every = -(-self._num_rounds // _EPSILONS)
        return None if (server_round + 1) % every else self.spent()

    def report(self) -> PrivacyReport:
        """What has been spent on this population so far, by this run and those before."""
        return privacy_report(
            self._ledger.spends(),
            self._options,
            self._rate,
            seeded=self._seed is not None,
            after_others=self._ledger.has_others((self._id, self._judging_id)),
        )

    @property
    def _judging_id(self) -> str:
        """Under which the ledger holds what judging has cost."""
        return f"{self._id}:{PURPOSE}"

    def _charge(self, server_round: int) -> None:
        """Pay for a round; of a tree, all rounds are paid for with the first.

        What devices have noised themselves the server sees as it arrives, whether the round gets to
        an outcome or not: another attempt is another release, so the first is settled as it begins.
        """
        if server_round % max(self._options.tree_rounds, 1) == 0:
            self._ledger.charge(self._id, server_round, self._spend(1))
            if self._options.noise in DEVICE_NOISES:
                self._ledger.settle(self._id, server_round)

    def _check_tree(self, rounds_done: int) -> None:
        """Refuse to draw a tree's noises a second time, from a copy of an old checkpoint."""
        if not self._options.tree_rounds or rounds_done % self._options.tree_rounds == 0:
            return
        last = self._ledger.last_settled(self._id)
        if last >= rounds_done:
            msg = (
                f"the checkpoint has {rounds_done} rounds, the ledger says that {last + 1} were "
                "released, and a tree cannot be noised twice: go on from the newest checkpoint, "
                "or remove this one to start anew"
            )
            raise CheckpointError(msg)

    def _spend_on(self, evaluation: EvaluationOptions, num_clients: int) -> Spend:
        sampled = self._options.sampling == "poisson"
        return Spend(
            sampling=self._options.sampling,
            sampling_rate=evaluation_rate(evaluation, num_clients) if sampled else 1.0,
            noise_multiplier=evaluation.noise_multiplier,
            rounds=1,
        )

    def _spend(self, rounds: int) -> Spend:
        return Spend(
            sampling=self._options.sampling,
            sampling_rate=self._rate if self._options.sampling == "poisson" else 1.0,
            noise_multiplier=self._options.charge_multiplier,
            rounds=rounds,
        )
