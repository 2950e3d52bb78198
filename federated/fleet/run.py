"""From a config file to rounds over a simulated fleet, their metrics, and the next bundle."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import InvalidOptionError
from edge_sdk.update import shareable_names
from federated.evaluation.in_process import judge_in_process
from federated.evaluation.run import evaluate_candidate, quality_of
from federated.fleet.algorithms import make_algorithm
from federated.fleet.buffered import BufferedDriver
from federated.fleet.devices import Devices
from federated.fleet.driver import LOSSES, SynchronousDriver
from federated.fleet.scale_out import RayCrew, SpreadTraining, WorkerRecipe
from federated.fleet.scoring import after_teaching, before_teaching
from federated.fleet.timeline import Load
from federated.fleet.training import Training
from federated.fleet.users import FleetData, People
from federated.next_bundle import RunSummary, write_next_bundle
from federated.population import PopulationOptions, open_population
from federated.privacy.private_run import PrivacySetup, PrivateRun, new_run_id
from federated.round_core import RoundOptions, run_rounds
from federated.run_files import about_run
from federated.run_log.records import FILE_NAME, Source, Traffic
from federated.run_log.writer import RunLog
from federated.scores import Score, score
from federated.simulate import embed_images, with_device_noise
from federated.study import labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from export.tasks.base import ImagePool
    from federated.evaluation.run import EvaluationReport
    from federated.fleet.algorithms.base import Algorithm
    from federated.fleet.config import FleetConfig
    from federated.fleet.driver import VisitReport, Work
    from federated.round_core import Reply, RoundReport, RoundTask, SecureSum
    from federated.rounds.planning import PrivateRounds
    from federated.rounds.records import Tensors

    OnRound = Callable[[RoundReport, VisitReport, dict[str, Score]], None]

_PRIOR_COUNT = 1.0
_INVENTED = ("digits", "glyphs")
_JUDGED = "fedavg"
"""The algorithm whose candidates all devices adapt by themselves, as this SDK does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetResult:
    """How a simulated run ended.

    Attributes:
        shared: The tensors that travelled, after the last round.
        reports: What the round core did, one a round.
        visits: What the fleet did, one a round.
        before: Accuracy of each held-out person at the end, before teaching, `[people]`.
        after: The same after teaching.
        judged: How devices judged the candidate; None where they did not.
    """

    shared: dict[str, NDArray[np.float32]]
    reports: tuple[RoundReport, ...]
    visits: tuple[VisitReport, ...]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    judged: EvaluationReport | None = None


def round_options(config: FleetConfig, cohort_size: int) -> RoundOptions:
    """What the round core is told."""
    rules = config.round
    return RoundOptions(
        rounds=rules.rounds,
        cohort_size=cohort_size,
        server_lr=rules.server_lr,
        clipping_norm=rules.clipping_norm,
        seed=config.seed,
        steps=rules.steps or None,
        aggregator=rules.aggregator,
        trim_share=rules.trim_share,
    )


def run_fleet(
    engine: Engine,
    data: FleetData,
    config: FleetConfig,
    *,
    log: RunLog | None = None,
    epsilon: Callable[[int], float | None] | None = None,
    on_round: OnRound | None = None,
    algorithm: Algorithm | None = None,
    privacy: PrivateRounds | None = None,
) -> FleetResult:
    """Run rounds over a fleet.

    Args:
        engine: The bundle that all devices hold, loaded.
        data: The examples of each device, and the people who are held out.
        config: The fleet and its rounds; `bundle`, `out` and `population` are not read.
        log: Where a line is written for each round.
        epsilon: Says for the log what has been spent after a round.
        on_round: Called after each round.
        algorithm: What devices do, where the caller wants to keep hold of it; made anew by default.
        privacy: Makes the rounds private: `round.replies` is then the cohort's mean size, drawn
            from all devices, and `round.over_selection` is not used.

    Raises:
        InvalidOptionError: The algorithm does not fit the bundle, or privacy the algorithm.
        NotEnoughClientsError: No device checked in for longer than the coordinator waits.
        MissingExtraError: The config asks for Ray, which is not installed.
    """
    _check_together(config, is_private=privacy is not None)
    if algorithm is not None and config.ray is not None:
        msg = "with [ray], what devices keep is in other processes; leave algorithm out"
        raise InvalidOptionError(msg)
    if algorithm is None:
        algorithm = make_algorithm(engine, config.algorithm, threads=config.threads)
    steps = config.round.steps or None
    devices = Devices(config, data.counts)
    shared = algorithm.shared()
    size = 4 * sum(value.size for value in shared.values())
    load = Load(steps=algorithm.own_steps(steps), bytes_down=size, bytes_up=size)
    with _training(engine, algorithm, data, devices, config) as work:
        driver: BufferedDriver | SynchronousDriver = (
            BufferedDriver(devices, config, load, work)
            if config.algorithm.asynchronous
            else SynchronousDriver(devices, config, load, work, everyone=privacy is not None)
        )
        clock = [time.process_time()]

        def collect(task: RoundTask) -> Iterable[Reply] | SecureSum:
            return with_device_noise(driver.collect(task), task, privacy)

        def after_round(report: RoundReport, now: Tensors) -> None:
            scores: dict[str, Score] = {}
            every = config.evaluate_every
            if every and (report.server_round + 1) % every == 0:
                scores["before_teaching"] = score(before_teaching(algorithm, now, data.held_out))
                after = after_teaching(algorithm, now, data.held_out, steps)
                scores["after_teaching"] = score(after)
            visits = driver.reports[-1]
            driver.candidates.forget()
            clock.append(time.process_time())
            if log is not None:
                log.round(
                    report,
                    traffic=Traffic(
                        bytes_down=visits.bytes_down,
                        bytes_up=visits.bytes_up,
                        devices_down=visits.reached,
                        devices_up=visits.finished + visits.late,
                    ),
                    epsilon=None if epsilon is None else epsilon(report.server_round),
                    evaluation=scores,
                    lost={name: getattr(visits, name) for name in LOSSES},
                    more={"fleet": asdict(visits), "cpu_s": round(clock[-1] - clock[-2], 4)},
                )
            if on_round is not None:
                on_round(report, visits, scores)

        result = run_rounds(
            shared,
            driver.candidates,
            engine.bundle.digest,
            round_options(config, driver.cohort_size),
            collect,
            after_round,
            privacy=privacy,
        )
    return FleetResult(
        shared=result.shared,
        reports=result.reports,
        visits=tuple(driver.reports),
        before=before_teaching(algorithm, result.shared, data.held_out),
        after=after_teaching(algorithm, result.shared, data.held_out, steps),
    )


def _check_together(config: FleetConfig, *, is_private: bool) -> None:
    if is_private and config.algorithm.asynchronous:
        msg = "who comes when he can is no random sample; private rounds are synchronous"
        raise InvalidOptionError(msg)


@contextmanager
def _training(
    engine: Engine, algorithm: Algorithm, data: FleetData, devices: Devices, config: FleetConfig
) -> Iterator[Work]:
    """What makes the updates: this process, or several."""
    if config.ray is None:
        yield Training(engine, algorithm, data, devices, config.attack, config.seed)
        return
    with RayCrew(WorkerRecipe.of(engine.bundle, config, data), config.ray) as crew:
        yield SpreadTraining(crew)


def simulate_fleet(
    config: FleetConfig,
    folder: Path,
    *,
    data: Path | None = None,
    on_round: OnRound | None = None,
) -> FleetResult:
    """Run what a config file says; write `run.jsonl`, `summary.json` and the next bundle.

    A bundle that names no labels is first given those of the source; that version is written as
    `start`. A candidate that devices judge and that is not promoted is not written.

    Args:
        config: The file's content.
        folder: Where its paths are relative to.
        data: The folder of the real data sets.
        on_round: Called after each round.

    Raises:
        InvalidOptionError: `out` exists, or something does not fit the bundle.
        EdgeError: As `open_bundle`, `open_population` and `run_fleet`.
    """
    out = folder / config.out
    _check_together(config, is_private=config.privacy is not None)
    if config.evaluation is not None and config.algorithm.name != _JUDGED:
        msg = f"devices judge what they do today: evaluation is for {_JUDGED}"
        raise InvalidOptionError(msg)
    if out.exists():
        msg = f"{out} exists; name a folder that does not, or remove it"
        raise InvalidOptionError(msg)
    opened = open_bundle(folder / config.bundle)
    people = config.population
    options = PopulationOptions(
        writers=people.persons or (people.devices if people.source in _INVENTED else 0),
        held_out=people.held_out,
        images=people.examples,
        seed=config.seed,
    )
    classes = people.max_classes or len(opened.manifest.labels) or opened.manifest.ways
    population = open_population(
        people.source, options, max_classes=min(classes, opened.manifest.ways), data=data
    )
    if opened.manifest.labels not in ((), population.labels):
        msg = "the bundle names other labels than the source; start from one that names none"
        raise InvalidOptionError(msg)
    out.mkdir(parents=True)
    bundle = labelled(opened, population.labels, out / "start", prior_count=_PRIOR_COUNT)
    engine = Engine(bundle)
    fleet = FleetData(
        people_of(engine, population.taking_part),
        people_of(engine, population.held_out),
        people,
        config.seed,
    )
    ids = Devices(config, fleet.counts).ids
    with ExitStack() as stack:
        setup = private = None
        if config.privacy is not None:
            setup = PrivacySetup(
                options=config.privacy, ledger=out / "ledger", noise_seed=config.seed
            )
            rounds = round_options(config, config.round.replies)
            private = stack.enter_context(
                PrivateRun(setup, rounds, ids, run_id=new_run_id(), evaluation=config.evaluation)
            )
        planned = round_options(config, config.round.replies)
        about = about_run(Source.FLEET, bundle.digest, planned, len(ids), setup, asdict(config))
        log = stack.enter_context(RunLog(out / FILE_NAME, about))
        result = run_fleet(
            engine,
            fleet,
            config,
            log=log,
            epsilon=None if private is None else private.epsilon,
            on_round=on_round,
            privacy=None if private is None else private.rounds(),
        )
        judged = None
        if config.evaluation is not None:
            number = {client_id: i for i, client_id in enumerate(ids)}

            def examples(client_id: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
                found = fleet.examples(number[client_id])
                return found.features, found.slots

            judged = evaluate_candidate(
                result.shared,
                ids,
                bundle.digest,
                config.evaluation,
                lambda task: judge_in_process(engine, task, examples),
                steps=config.round.steps or None,
                seed=config.seed,
                private=None if private is None else private.evaluation(config.round.rounds),
            )
            log.evaluation(judged)
        guarantee = None if private is None else private.report()
        rounds = round_options(config, config.round.cohort_size)
        summary = RunSummary.of(rounds, result.reports, num_clients=len(fleet), privacy=guarantee)
        whole = {name: engine.initial_state()[name] for name in shareable_names(bundle.manifest)}
        digest = None
        if judged is None or judged.verdict.promoted:
            new = {**whole, **result.shared}
            digest = write_next_bundle(out / "bundle", bundle, new, summary, quality_of(judged))
        log.complete(epsilon=None if guarantee is None else guarantee.epsilon, bundle_digest=digest)
    (out / "summary.json").write_text(
        json.dumps(
            {
                "start_digest": bundle.digest,
                "bundle_digest": digest,
                "data_digest": population.digest,
                "before_teaching": asdict(score(result.before)),
                "after_teaching": asdict(score(result.after)),
                "virtual_hours": result.visits[-1].closed_s / 3600,
                "bytes_down": sum(entry.bytes_down for entry in result.visits),
                "bytes_up": sum(entry.bytes_up for entry in result.visits),
                "privacy": None if guarantee is None else asdict(guarantee),
                "evaluation": None if judged is None else asdict(judged),
                "updates": sum(entry.num_accepted for entry in result.reports),
            },
            indent=1,
            sort_keys=True,
        ),
        encoding="utf-8",
    )
    return replace(result, judged=judged)


def people_of(engine: Engine, pool: ImagePool) -> People:
    """Embed a pool's images: each user is a person, each class a label slot."""
    return People(embed_images(engine, pool.images), pool.classes, pool.users)
