"""How a run's figures are written, in the terminal and on the page alike."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

from federated.demo.wording import percent, size, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from federated.run_log.records import RunAbout, RunRecord, Traffic
    from federated.scores import Score

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
NONE = "\N{EN DASH}"
_NAMES = {
    "before_teaching": "new people, before they teach",
    "after_teaching": "new people, after they teach",
}


def reason(code: str) -> str:
    """A reason's code as words."""
    return code.replace("_", " ")


def measured(name: str) -> str:
    """What a measurement is of."""
    return _NAMES.get(name, reason(name))


def total(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by reason over all rounds, the most frequent first."""
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part)
    return dict(found.most_common())


def counts(by_reason: Mapping[str, int]) -> str:
    """Counts by reason: "3 no reply, 1 stale", or "none"."""
    return ", ".join(f"{count} {reason(name)}" for name, count in by_reason.items()) or "none"


def wanted(about: RunAbout) -> str:
    """How many updates a round is to have."""
    return "all" if about.cohort_size >= about.num_clients else f"{about.cohort_size:,}"


def num_bytes(value: float) -> str:
    """Bytes for people; megabytes from a million on."""
    if value >= 1e9:
        return f"{value / 1e9:.1f} GB"
    return f"{value / 1e6:.1f} MB" if value >= 1e6 else size(round(value))


def each(total_bytes: int, devices: int) -> str:
    """Bytes of one device on average."""
    return num_bytes(total_bytes / devices) if devices else NONE


def seconds(value: float) -> str:
    """A time for people, short ones with their first digit."""
    return f"{value:.1f} s" if value < 10 else span(value)


def times(count: int) -> str:
    """How often: "once", "3 times"."""
    return "once" if count == 1 else f"{count} times"


def epsilon(value: float | None) -> str:
    """Epsilon for people."""
    return NONE if value is None else f"{value:.2f}"


def accuracy(score: Score | None) -> str:
    """A mean accuracy."""
    return NONE if score is None else percent(score.mean)


def worst(score: Score | None) -> str:
    """The accuracy of the worst-off tenth."""
    return NONE if score is None else percent(score.worst_decile)


def traffic_of(run: RunRecord) -> list[Traffic]:
    """The rounds whose bytes were counted."""
    return [entry.traffic for entry in run.rounds if entry.traffic is not None]


def moment(at: str) -> str:
    """A time of the log for people: "22 November 2026, 07:23 UTC"."""
    found = datetime.fromisoformat(at)
    return f"{found.day} {_MONTHS[found.month - 1]} {found:%Y, %H:%M %Z}"


def judged(run: RunRecord) -> str:
    """How the candidate was judged, in a sentence or two; empty where it was not."""
    return "" if run.evaluation is None else run.evaluation.verdict.for_people()


def standing(run: RunRecord) -> str:
    """One sentence: how the run stands, and what to do about it."""
    done = f"{len(run.rounds)} of {run.about.rounds} rounds"
    outcome = ""
    if run.evaluation is not None:
        promoted = run.evaluation.verdict.promoted
        outcome = " The candidate is promoted." if promoted else " The old bundle stays current."
    return {
        "running": f"Running: {done} done.",
        "completed": f"Completed: {done}.{outcome}",
        "failed": f"Failed ({reason(str(run.end.get('reason', 'unknown')))}) after {done}.",
        "interrupted": f"Interrupted after {done}; start it again to go on from its checkpoint.",
    }[run.status.value]
