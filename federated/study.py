"""A simulated study: do rounds make a bundle better for people who took part in none?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import InvalidOptionError
from export.intervals import mean_interval
from federated.evaluation.in_process import judge_in_process
from federated.evaluation.run import evaluate_candidate, quality_of
from federated.local_round import shared_tensors
from federated.next_bundle import RunSummary, name_labels, write_next_bundle
from federated.run_files import about_run, open_run
from federated.run_log.records import SUFFIX, Source, Traffic
from federated.run_log.writer import RunLog
from federated.scores import score
from federated.simulate import clients_of, simulate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge_sdk import Bundle, State
    from edge_sdk.signing import SigningKey
    from export.intervals import Mean
    from federated.evaluation.options import EvaluationOptions
    from federated.evaluation.run import EvaluationReport
    from federated.population import Population
    from federated.privacy.private_run import PrivacySetup
    from federated.privacy.report import PrivacyReport
    from federated.round_core import RoundOptions, RoundReport
    from federated.simulate import SimulatedClient


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyReport:
    """Accuracy of held-out users before they teach anything, with 95 % intervals over users.

    Attributes:
        before: With the bundle that rounds started from.
        after: With the new bundle, read back from its files; or with the candidate.
        gain: After minus before, paired by user.
        per_round: Mean accuracy after each round.
        rounds: What happened in each round.
        start_digest: The bundle that rounds started from.
        new_digest: The new bundle; None where the candidate was not promoted.
        data_digest: The data that the writers' images came from.
        privacy: What the new bundle claims; None without noise.
        evaluation: How the candidate was judged; None where it was not.
    """

    before: Mean
    after: Mean
    gain: Mean
    per_round: tuple[float, ...]
    rounds: tuple[RoundReport, ...]
    start_digest: str
    new_digest: str | None
    data_digest: str
    privacy: PrivacyReport | None = None
    evaluation: EvaluationReport | None = None


def run_study(
    bundle: Bundle,
    population: Population,
    options: RoundOptions,
    out: Path,
    *,
    key: SigningKey | None = None,
    privacy: PrivacySetup | None = None,
    resume: bool = False,
    evaluation: EvaluationOptions | None = None,
) -> StudyReport:
    """Run rounds over the users who take part, write the new bundle, measure it on the others.

    Args:
        bundle: A bundle whose labels are the population's (see `labelled`).
        population: Who takes part and who is held out.
        options: The rounds to run.
        out: Folder of the new bundle; must not exist.
        key: Sign the new bundle with it.
        privacy: Makes the rounds private; the new bundle then says how much.
        resume: Go on from the checkpoint of an interrupted run, beside `out`. Rounds before it are
            not evaluated again.
        evaluation: How those who take part judge the candidate before it is promoted; without it,
            and where they do, the new bundle is written.

    Raises:
        InvalidOptionError: The labels differ, or `out` exists.
        BudgetExhaustedError: The privacy budget does not allow these rounds; none is run.
        CheckpointError: There is nothing to resume, or it is of another run.
    """
    if bundle.manifest.labels != population.labels:
        msg = "the bundle names other labels than the tasks; name its labels after the tasks"
        raise InvalidOptionError(msg)
    if out.exists():
        msg = f"{out} exists; name a folder that does not, or remove it"
        raise InvalidOptionError(msg)
    engine = Engine(bundle)
    clients, held_out = (
        clients_of(engine, pool, np.unique(pool.users).tolist())
        for pool in (population.taking_part, population.held_out)
    )
    before = accuracy_of_users(engine, engine.initial_state(), held_out)
    size_bytes = sum(v.nbytes for v in shared_tensors(bundle, engine.initial_state()).values())
    per_round: list[float] = []
    with (
        open_run(
            out.with_name(f"{out.name}.checkpoint"),
            bundle.digest,
            options,
            [client.client_id for client in clients],
            privacy,
            resume=resume,
            evaluation=evaluation,
        ) as run,
        RunLog(
            out.with_name(out.name + SUFFIX),
            about_run(Source.SIMULATION, bundle.digest, options, len(clients), privacy),
            run.start,
        ) as log,
    ):

        def after_round(entry: RoundReport, state: State) -> None:
            found = score(accuracy_of_users(engine, state, held_out))
            per_round.append(found.mean)
            log.round(
                entry,
                traffic=Traffic.of_tensors(entry, size_bytes),
                epsilon=run.epsilon(entry.server_round),
                evaluation={"before_teaching": found},
            )

        result = simulate(
            engine,
            clients,
            options,
            on_round=after_round,
            privacy=run.private_rounds,
            start=run.start,
            keep=run.keep,
        )
        judged = None
        if evaluation is not None:
            examples = {client.client_id: (client.features, client.slots) for client in clients}
            judged = evaluate_candidate(
                result.shared,
                list(examples),
                bundle.digest,
                evaluation,
                lambda task: judge_in_process(engine, task, examples.__getitem__),
                steps=options.steps,
                seed=options.seed,
                private=run.private_evaluation(options.rounds),
            )
            log.evaluation(judged)
        guarantee = run.report()
        summary = RunSummary.of(
            options, result.reports, num_clients=len(clients), privacy=guarantee
        )
        digest = None
        if judged is None or judged.verdict.promoted:
            quality = quality_of(judged)
            digest = write_next_bundle(out, bundle, result.shared, summary, quality, key=key)
            run.remove_checkpoint()
        log.complete(epsilon=None if guarantee is None else guarantee.epsilon, bundle_digest=digest)
    if digest is None:
        after = accuracy_of_users(engine, result.state, held_out)
    else:
        new = Engine(open_bundle(out))
        after = accuracy_of_users(new, new.initial_state(), held_out)
    return StudyReport(
        before=mean_interval(before),
        after=mean_interval(after),
        gain=mean_interval(after - before),
        per_round=tuple(per_round),
        rounds=result.reports,
        start_digest=bundle.digest,
        new_digest=digest,
        data_digest=population.digest,
        privacy=guarantee,
        evaluation=judged,
    )


def labelled(
    bundle: Bundle,
    labels: Sequence[str],
    path: Path,
    *,
    prior_count: float,
    key: SigningKey | None = None,
) -> Bundle:
    """Return `bundle` if it names labels, else the version at `path` that names `labels`.

    That one is signed where there is a `key`.

    Raises:
        InvalidOptionError: `path` exists, or the labels or the prior do not fit.
    """
    if bundle.manifest.labels:
        return bundle
    name_labels(path, bundle, labels, prior_count=prior_count, key=key)
    return open_bundle(path)


def accuracy_of_users(
    engine: Engine, state: State, users: Sequence[SimulatedClient]
) -> NDArray[np.float64]:
    """Share of each user's own examples that `state` labels right; `[users]`, in 0..1."""
    scores = []
    for user in users:
        logits = engine.predict(user.features, state).logits
        scores.append(float(np.mean(logits.argmax(axis=1) == user.slots)))
    return np.array(scores, np.float64)
