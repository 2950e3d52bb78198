from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from edge_sdk.judgement import Judgement
from edge_sdk.random_words import SeededWords
from federated.errors import BudgetExhaustedError
from federated.evaluation.options import EvaluationOptions
from federated.evaluation.run import (
    Answer,
    EvaluationTask,
    PrivateEvaluation,
    check_evaluation,
    evaluate_candidate,
)
from federated.evaluation.verdict import Reason
from federated.privacy.accounting import Spend, epsilon_by
from federated.privacy.ledger import Budget, BudgetLedger
from federated.privacy.options import PrivacyOptions
from federated.privacy.private_run import PrivacySetup, PrivateRun
from federated.round_core import RoundOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from federated.evaluation.run import EvaluationReport

CLIENTS = [f"user-{i:03d}" for i in range(40)]
BETTER = Judgement(current=500, candidate=700)
OPTIONS = EvaluationOptions(devices=20)


def evaluate(
    answers: Any, options: EvaluationOptions = OPTIONS, **more: Any
) -> tuple[EvaluationReport, list[EvaluationTask]]:
    asked: list[EvaluationTask] = []

    def collect(task: EvaluationTask) -> Sequence[Answer]:
        asked.append(task)
        return list(answers(task))

    candidate = {"w": np.ones(2, np.float32)}
    return evaluate_candidate(candidate, CLIENTS, "d" * 64, options, collect, **more), asked


def all_say(judgement: Judgement) -> Any:
    return lambda task: [Answer(client_id=c, judgement=judgement) for c in task.cohort]


def test_so_many_devices_as_wanted_judge_and_the_draw_depends_on_the_seed() -> None:
    report, [task] = evaluate(all_say(BETTER), steps=3)
    assert (report.num_sampled, report.num_accepted, report.num_missing) == (20, 20, 0)
    assert report.verdict.reason == Reason.NOT_WORSE
    assert report.verdict.gain == pytest.approx(200 / 1024, abs=1e-3)
    assert (len(task.cohort), task.steps, task.folds) == (20, 3, 5)
    assert set(task.cohort) <= set(CLIENTS)
    assert evaluate(all_say(BETTER))[1][0].cohort == task.cohort
    assert evaluate(all_say(BETTER), seed=1)[1][0].cohort != task.cohort


def test_a_user_counts_once_and_strangers_and_failures_do_not() -> None:
    def answers(task: EvaluationTask) -> list[Answer]:
        first, second, third, *rest = task.cohort
        stranger = next(c for c in CLIENTS if c not in task.cohort)
        return [
            Answer(client_id=first, judgement=BETTER),
            Answer(client_id=first, judgement=Judgement(current=1024, candidate=0)),
            Answer(client_id=stranger, judgement=Judgement(current=1024, candidate=0)),
            Answer(client_id=second, failure="nothing_taught"),
            Answer(client_id=third, failure="malformed"),
            *(Answer(client_id=c, judgement=BETTER) for c in rest[:-2]),
        ]

    report, _ = evaluate(answers)
    assert report.num_accepted == 16
    assert report.refused == {"duplicate": 1, "malformed": 1, "not_sampled": 1}
    assert report.failed == {"nothing_taught": 1}
    assert report.num_missing == 2
    assert report.verdict.gain == pytest.approx(200 / 1024, abs=1e-3)


def test_nobody_answers() -> None:
    report, _ = evaluate(lambda _: [])
    assert (report.verdict.promoted, report.verdict.reason) == (False, Reason.TOO_FEW)


class Steps:
    """Writes down in which order things happen."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def private(self, sampling: str = "none") -> PrivateEvaluation:
        def words(what: str) -> SeededWords:
            self.seen.append(what)
            return SeededWords(np.random.default_rng(1))

        return PrivateEvaluation(
            sampling=sampling,
            charge=lambda: self.seen.append("charge"),
            settle=lambda: self.seen.append("settle"),
            words=words,
        )


def test_it_is_paid_for_before_anybody_is_asked_and_settled_before_it_is_released() -> None:
    steps = Steps()

    def answers(task: EvaluationTask) -> list[Answer]:
        steps.seen.append("ask")
        return all_say(BETTER)(task)  # type: ignore[no-any-return]

    report, _ = evaluate(answers, private=steps.private())
    assert steps.seen == ["charge", "cohort", "ask", "settle", "noise"]
    assert report.verdict.noise_deviation > 0
    assert report.verdict.gain != pytest.approx(200 / 1024, abs=1e-6)


def test_a_poisson_cohort_is_one() -> None:
    sizes = {len(evaluate(all_say(BETTER), private=private)[1][0].cohort) for private in [
        PrivateEvaluation(
            sampling="poisson", charge=lambda: None, settle=lambda: None,
            words=lambda _, seed=seed: SeededWords(np.random.default_rng(seed)),  # type: ignore[misc]
        )
        for seed in range(12)
    ]}  # fmt: skip
    assert len(sizes) > 3


SPENT = PrivacyOptions(noise_multiplier=3.0, epsilon=6.0, delta=1e-3, accountant="rdp")
ROUNDS = RoundOptions(rounds=4, cohort_size=20)


def test_the_ledger_of_the_run_pays_for_it(tmp_path: Path) -> None:
    setup = PrivacySetup(options=SPENT, ledger=tmp_path / "ledger")
    with PrivateRun(setup, ROUNDS, CLIENTS, run_id="a", evaluation=OPTIONS) as run:
        private = run.evaluation(4)
        assert private is not None
        private.charge()
        alone = run.spent()
        assert alone > 0
        private.charge()  # an attempt that released nothing is the same spend
        assert run.spent() == alone
        private.settle()
        private.charge()
        assert run.spent() > alone
    [spend] = _spends(tmp_path / "ledger")
    assert (spend.rounds, spend.sampling_rate, spend.noise_multiplier) == (2, 0.5, 2.0)


def _spends(path: Path) -> list[Any]:
    budget = Budget(epsilon=SPENT.epsilon, delta=SPENT.delta, accountant=SPENT.accountant)
    with BudgetLedger(path, budget) as ledger:
        return ledger.spends()


def test_a_run_whose_judging_cannot_be_paid_for_is_refused_before_its_first_round(
    tmp_path: Path,
) -> None:
    setup = PrivacySetup(options=SPENT, ledger=tmp_path / "ledger")
    with PrivateRun(setup, ROUNDS, CLIENTS, run_id="a"):
        pass  # the rounds alone are affordable
    dear = EvaluationOptions(devices=40, noise_multiplier=0.5)
    with pytest.raises(BudgetExhaustedError):
        PrivateRun(setup, ROUNDS, CLIENTS, run_id="b", evaluation=dear)
    assert _spends(tmp_path / "ledger") == []


def test_judging_that_was_cut_off_is_paid_for_already(tmp_path: Path) -> None:
    rounds = RoundOptions(rounds=1, cohort_size=20)
    judged = Spend(sampling="poisson", sampling_rate=0.5, noise_multiplier=2.0, rounds=1)
    once = Spend(sampling="poisson", sampling_rate=0.5, noise_multiplier=3.0, rounds=1)
    exact = epsilon_by("rdp", [judged, once], SPENT.delta)
    setup = PrivacySetup(options=replace(SPENT, epsilon=exact), ledger=tmp_path / "ledger")
    with PrivateRun(setup, rounds, CLIENTS, run_id="a", evaluation=OPTIONS) as run:
        run.rounds().charge(0)
        run.rounds().settle(0)
        private = run.evaluation(1)
        assert private is not None
        private.charge()  # and killed while devices judge
    with PrivateRun(setup, rounds, CLIENTS, run_id="a", rounds_done=1, evaluation=OPTIONS) as again:
        private = again.evaluation(1)
        assert private is not None
        private.charge()
        private.settle()
        assert again.spent() == pytest.approx(exact)
    with pytest.raises(BudgetExhaustedError):
        PrivateRun(setup, rounds, CLIENTS, run_id="a", rounds_done=1, evaluation=OPTIONS)


@pytest.mark.parametrize(
    "noised_by_devices",
    [
        PrivacyOptions(noise="distributed", min_contributors=2, sampling="fixed"),
        PrivacyOptions(noise="local", sampling="fixed"),
    ],
    ids=["distributed", "local"],
)
def test_noise_of_devices_and_judging_exclude_each_other(noised_by_devices: PrivacyOptions) -> None:
    with pytest.raises(InvalidOptionError, match="leave evaluation off"):
        check_evaluation(OPTIONS, noised_by_devices)
    check_evaluation(OPTIONS, None)
    check_evaluation(OPTIONS, PrivacyOptions())
