"""What a run log says, as records: the run, its rounds, how it ended (docs/RUN_LOG.md)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from federated.scores import Score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federated.evaluation.run import EvaluationReport
    from federated.rounds.records import RoundReport

FORMAT = 1
FILE_NAME = "run.jsonl"
SUFFIX = ".run.jsonl"


class Source(StrEnum):
    """Who wrote a log."""

    FLOWER = "flower"
    SIMULATION = "simulation"
    FLEET = "fleet"


class Status(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunAbout:
    """What a log says of its run before the first round.

    Attributes:
        source: Which driver runs it.
        bundle_digest: The bundle that it starts from.
        rounds: How many are planned.
        cohort_size: Updates wanted in each.
        num_clients: Clients that may be sampled.
        budget_epsilon: The epsilon that is never exceeded; None without noise.
        budget_delta: At which it holds; None without noise.
        settings: What else the driver was told.
    """

    source: Source
    bundle_digest: str
    rounds: int
    cohort_size: int
    num_clients: int
    budget_epsilon: float | None = None
    budget_delta: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Self:
        """Read a line of kind "run" or "resumed"."""
        budget = line["budget"]
        return cls(
            source=Source(line["source"]),
            bundle_digest=str(line["bundle_digest"]),
            rounds=int(line["rounds"]),
            cohort_size=int(line["cohort_size"]),
            num_clients=int(line["num_clients"]),
            budget_epsilon=None if budget is None else float(budget["epsilon"]),
            budget_delta=None if budget is None else float(budget["delta"]),
            settings=dict(line["settings"]),
        )

    def as_json(self) -> dict[str, Any]:
        """As it stands in a line."""
        line = asdict(self)
        epsilon, delta = line.pop("budget_epsilon"), line.pop("budget_delta")
        return {**line, "budget": None if epsilon is None else {"epsilon": epsilon, "delta": delta}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Bytes of one round, without the transport's framing.

    Attributes:
        bytes_down: Sent to devices, all together.
        bytes_up: Received from devices.
        devices_down: Devices that they were sent to.
        devices_up: Devices that they came from.
    """

    bytes_down: int
    bytes_up: int
    devices_down: int
    devices_up: int

    @classmethod
    def of_tensors(cls, report: RoundReport, size_bytes: int) -> Self:
        """Of a round in one process: the tensors that would have crossed a network."""
        answers = report.num_accepted + sum(report.refused.values())
        return cls(
            bytes_down=report.num_sampled * size_bytes,
            bytes_up=answers * size_bytes,
            devices_down=report.num_sampled,
            devices_up=answers,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundEntry:
    """One round, as a log has it.

    Attributes:
        server_round: Its number, from 0.
        at: When it was written, ISO 8601, UTC.
        wall_s: Seconds since the line before; None where it was written after a restart.
        num_sampled: Clients in the cohort.
        num_accepted: Updates used.
        num_missing: Sampled clients without a reply.
        num_clipped: Updates that the server had to clip.
        refused: Replies not used, by reason.
        failed: Clients that reported an error, by its code.
        lost: Devices that did not answer, by where they got lost; a simulation alone knows.
        given_up: Groups of a masked round that gave their sum up, by the code of the error.
        clipping_norm: The bound on an update.
        noise_deviation: Of each coordinate of the released sum.
        epsilon: Spent on these users so far; None without noise, and where it was not computed.
        traffic: None where it was not measured.
        evaluation: Accuracy of people, by what was measured.
    """

    server_round: int
    at: str
    wall_s: float | None
    num_sampled: int
    num_accepted: int
    num_missing: int
    num_clipped: int
    refused: dict[str, int]
    failed: dict[str, int]
    lost: dict[str, int]
    given_up: dict[str, int]
    clipping_norm: float
    noise_deviation: float
    epsilon: float | None
    traffic: Traffic | None
    evaluation: dict[str, Score]

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Self:
        """Read a line of kind "round"; keys that are not named here are the driver's own."""
        return cls(
            server_round=int(line["server_round"]),
            num_sampled=int(line["num_sampled"]),
            num_accepted=int(line["num_accepted"]),
            num_missing=int(line["num_missing"]),
            num_clipped=int(line["num_clipped"]),
            refused=_by_reason(line["refused"]),
            failed=_by_reason(line["failed"]),
            lost=_by_reason(line["lost"]),
            given_up=_by_reason(line.get("given_up", {})),
            at=str(line["at"]),
            wall_s=_optional(line["wall_s"]),
            clipping_norm=float(line["clipping_norm"]),
            noise_deviation=float(line["noise_deviation"]),
            epsilon=_optional(line["epsilon"]),
            traffic=None if line["traffic"] is None else Traffic(**line["traffic"]),
            evaluation={name: Score(**entry) for name, entry in line["evaluation"].items()},
        )

    @property
    def num_asked(self) -> int:
        """Devices that were given work; more than sampled where a buffer is filled by many."""
        return max(self.num_sampled, self.num_accepted + sum(self.lost.values()))

    @property
    def dropped(self) -> dict[str, int]:
        """Devices without a reply, by where they got lost as far as that is known."""
        if self.lost:
            return self.lost
        return {"no_reply": self.num_missing} if self.num_missing else {}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """What a log says of its run.

    Attributes:
        about: What was planned.
        status: How it stands.
        started_at: When it began, ISO 8601, UTC.
        ended_at: When it ended; None while it runs, or where its end was not written.
        num_resumed: How often it went on after a restart.
        rounds: Those that have their outcome, in order.
        evaluation: How the candidate was judged after the last round; None where it was not.
        end: What the last line says; empty before.
    """

    about: RunAbout
    status: Status
    started_at: str
    ended_at: str | None
    num_resumed: int
    rounds: tuple[RoundEntry, ...]
    evaluation: EvaluationReport | None
    end: Mapping[str, Any]

    @property
    def epsilon(self) -> float | None:
        """Spent on these users, by the last line that says so; None without noise."""
        found = [e.epsilon for e in self.rounds if e.epsilon is not None]
        last = self.end.get("epsilon")
        return float(last) if last is not None else found[-1] if found else None

    def scores(self, name: str) -> dict[int, Score]:
        """One measurement by round."""
        return {e.server_round: e.evaluation[name] for e in self.rounds if name in e.evaluation}

    @property
    def measured(self) -> tuple[str, ...]:
        """What was measured in any round, in the order it first was."""
        return tuple(dict.fromkeys(name for entry in self.rounds for name in entry.evaluation))


def _by_reason(counts: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in counts.items()}


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)
