"""The judging of a candidate, pure: whom to ask, which answers count, what is released.

The Flower server, the simulator and the fleet all drive `evaluate_candidate`; `collect` is the only
thing that differs between them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from federated.evaluation.counts import noise_sigma, release, total
from federated.evaluation.verdict import Verdict, decide
from federated.privacy.options import DEVICE_NOISES
from federated.rounds.records import Refusal
from federated.rounds.sampling import fixed_cohort, poisson_cohort, sample_cohort

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Self

    from edge_sdk.judgement import Judgement
    from edge_sdk.random_words import RandomWords
    from federated.evaluation.options import EvaluationOptions
    from federated.privacy.options import PrivacyOptions
    from federated.rounds.records import Tensors

PURPOSE = "evaluation"


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivateEvaluation:
    """What makes the judging private.

    Attributes:
        sampling: As of the run's rounds: `poisson`, `fixed` or `none`.
        charge: Called before anybody is asked: records what it costs, or raises
            `BudgetExhaustedError`.
        settle: Called before anything is released: no later attempt is free.
        words: Randomness by purpose: the operating system's outside tests.
    """

    sampling: str
    charge: Callable[[], None]
    settle: Callable[[], None]
    words: Callable[[str], RandomWords]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationTask:
    """What devices are asked.

    Attributes:
        cohort: Whom to ask, ascending.
        candidate: The tensors that the candidate would start from, float32.
        bundle_digest: The current bundle, which all devices hold.
        steps: Inner steps, or None for the bundle's own number.
        folds: Parts that a device splits its examples into.
    """

    cohort: tuple[str, ...]
    candidate: Tensors
    bundle_digest: str
    steps: int | None
    folds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back from one device: a judgement, or the code of what went wrong there."""

    client_id: str
    judgement: Judgement | None = None
    failure: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationReport:
    """A verdict, and who took part in it; the latter is for the coordinator.

    Attributes:
        verdict: What is said of the candidate.
        num_sampled: Devices that were asked.
        num_accepted: Judgements in the sum.
        num_missing: Devices without an answer.
        refused: Answers not used, by `Refusal`.
        failed: Devices that reported an error, by its code.
    """

    verdict: Verdict
    num_sampled: int
    num_accepted: int
    num_missing: int
    refused: dict[str, int]
    failed: dict[str, int]

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, from a run log."""
        values = {field.name: entry[field.name] for field in fields(cls)}
        return cls(**{**values, "verdict": Verdict.read(entry["verdict"])})


def check_evaluation(options: EvaluationOptions, privacy: PrivacyOptions | None) -> None:
    """Refuse what would break a promise of the run.

    Raises:
        InvalidOptionError: The server must see no single answer without noise (distributed and
            local noise), or the noise cannot be drawn.
    """
    if privacy is None:
        return
    if privacy.noise in DEVICE_NOISES:
        msg = (
            f"with {privacy.noise} noise the server must see nothing of one user without it, and "
            "judgements are noised by the server; leave evaluation off, or take central noise"
        )
        raise InvalidOptionError(msg)
    noise_sigma(options.noise_multiplier)


def evaluate_candidate(
    candidate: Tensors,
    client_ids: Sequence[str],
    bundle_digest: str,
    options: EvaluationOptions,
    collect: Callable[[EvaluationTask], Sequence[Answer]],
    *,
    steps: int | None = None,
    seed: int = 0,
    private: PrivateEvaluation | None = None,
) -> EvaluationReport:
    """Ask devices how a candidate serves them beside the current bundle, and decide.

    Args:
        candidate: The shared tensors that rounds ended in, float32.
        client_ids: Who may be asked.
        bundle_digest: The bundle that they hold.
        options: How many are asked, and what is enough.
        collect: Sends the task to its cohort and returns the answers in time.
        steps: Inner steps of each adaptation, or None for the bundle's own number.
        seed: Of the draw of devices in a run that is not private.
        private: Makes the judging private; None adds no noise.

    Raises:
        BudgetExhaustedError: The budget does not allow it; nobody was asked.
        InvalidOptionError: There is no client.
    """
    sigma = noise_sigma(options.noise_multiplier)
    if private is not None:
        private.charge()
    task = EvaluationTask(
        cohort=_cohort(client_ids, options, seed, private),
        candidate=candidate,
        bundle_digest=bundle_digest,
        steps=steps,
        folds=options.folds,
    )
    answers = collect(task)
    used, refused, failed = _admit(task, answers)
    exact = total(used)
    if private is None:
        released = release(exact, sigma, None)
    else:
        private.settle()
        released = release(exact, sigma, private.words("noise"))
    return EvaluationReport(
        verdict=decide(released, options),
        num_sampled=len(task.cohort),
        num_accepted=len(used),
        num_missing=len(set(task.cohort) - {answer.client_id for answer in answers}),
        refused=dict(sorted(refused.items())),
        failed=dict(sorted(failed.items())),
    )


def quality_of(report: EvaluationReport | None) -> dict[str, float]:
    """What the manifest of a promoted bundle says of how it was judged; nothing if it was not."""
    if report is None:
        return {}
    found = report.verdict
    return {
        "judged_accuracy": found.candidate.mean,
        "judged_worst_decile": found.candidate.worst_decile,
        "judged_gain": found.gain,
        "judged_gain_low": found.gain_low,
    }


def _cohort(
    client_ids: Sequence[str],
    options: EvaluationOptions,
    seed: int,
    private: PrivateEvaluation | None,
) -> tuple[str, ...]:
    ids = sorted(set(client_ids))
    if private is None:
        rng = np.random.default_rng([seed, *PURPOSE.encode()])
        return sample_cohort(ids, options.devices, rng)
    if private.sampling == "poisson":
        rate = evaluation_rate(options, len(ids))
        return poisson_cohort(ids, rate, private.words("cohort"))
    return fixed_cohort(ids, options.devices, private.words("cohort"))


def evaluation_rate(options: EvaluationOptions, num_clients: int) -> float:
    """Chance of each client to be asked, where each is drawn by itself."""
    return min(1.0, options.devices / num_clients)


def _admit(
    task: EvaluationTask, answers: Sequence[Answer]
) -> tuple[list[Judgement], Counter[str], Counter[str]]:
    """One judgement a client that was asked; the first of several."""
    refused: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    used: dict[str, Judgement] = {}
    cohort = frozenset(task.cohort)
    for answer in answers:
        if answer.judgement is None:
            malformed = answer.failure == Refusal.MALFORMED
            (refused if malformed else failed)[str(answer.failure or "unknown")] += 1
        elif answer.client_id not in cohort:
            refused[Refusal.NOT_SAMPLED] += 1
        elif answer.client_id in used:
            refused[Refusal.DUPLICATE] += 1
        else:
            used[answer.client_id] = answer.judgement
    return [used[client] for client in sorted(used)], refused, failed
