"""Run logs to read: a small run with something of everything in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federated.rounds.records import RoundReport
from federated.run_log.records import RunAbout, Source, Traffic
from federated.run_log.writer import RunLog
from federated.scores import Score

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "a" * 64


def an_about(**changes: Any) -> RunAbout:
    values: dict[str, Any] = {
        "source": Source.FLOWER, "bundle_digest": DIGEST, "rounds": 3, "cohort_size": 4,
        "num_clients": 20, "budget_epsilon": 8.0, "budget_delta": 1e-5, **changes,
    }  # fmt: skip
    return RunAbout(**values)


def a_report(number: int, **changes: Any) -> RoundReport:
    values: dict[str, Any] = {
        "server_round": number, "num_sampled": 4, "num_accepted": 2, "num_missing": 1,
        "refused": {"stale": 1}, "clipping_norm": 0.5, **changes,
    }  # fmt: skip
    return RoundReport(**values)


def write_round(log: RunLog, number: int, **changes: Any) -> None:
    mean = min(0.9, 0.5 + 0.1 * number)
    values: dict[str, Any] = {
        "traffic": Traffic(bytes_down=4000, bytes_up=3000 + number, devices_down=4, devices_up=3),
        "epsilon": 1.0 + number,
        "evaluation": {"before_teaching": Score(mean=mean, worst_decile=0.3, people=9)},
        **changes,
    }  # fmt: skip
    log.round(a_report(number), **values)


def a_finished_log(path: Path, rounds: int = 3) -> Path:
    with RunLog(path, an_about(rounds=rounds)) as log:
        for number in range(rounds):
            write_round(log, number)
        log.complete(epsilon=1.0 + rounds, bundle_digest="b" * 64)
    return path
