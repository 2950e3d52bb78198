"""A run's status as tables in a terminal, readable in 60 columns, once or live."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from federated.console import wording
from federated.errors import RunNotBegunError
from federated.run_log.reader import find_log, read_log
from federated.run_log.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console, RenderableType

    from federated.run_log.records import RoundEntry, RunRecord

LAST_ROUNDS = 10
_STYLES = {
    Status.RUNNING: "bold cyan",
    Status.COMPLETED: "bold green",
    Status.FAILED: "bold red",
    Status.INTERRUPTED: "bold yellow",
}


def render(run: RunRecord, *, last: int = LAST_ROUNDS) -> RenderableType:
    """Facts of a run, and its last rounds."""
    parts: list[RenderableType] = [
        Text(wording.standing(run), style=_STYLES[run.status]),
        _facts(run),
    ]
    if run.rounds:
        parts += ["", _rounds(run, last)]
    if run.evaluation is not None:
        style = "green" if run.evaluation.verdict.promoted else "yellow"
        parts += ["", Text(wording.judged(run), style=style)]
    return Group(*parts)


def watch(path: Path, console: Console, *, interval_s: float) -> RunRecord:
    """Show a run until it has completed or failed; wait for its log where it has not begun.

    One that is interrupted may go on (`serve` starts a ServerApp again that died), so it is shown
    and waited for.

    Args:
        path: The run, as for `find_log`.
        console: Where to show it.
        interval_s: Seconds between two looks.

    Raises:
        RunLogError: The log is damaged, or of a newer format.
    """
    shown = _read_begun(path)
    if shown is None:  # on a line of its own, for others may write to the terminal meanwhile
        waiting = f"Waiting for {path.name} to begin: rounds do once their devices are there."
        console.print(Text(waiting, style="dim"))
    while shown is None:
        time.sleep(interval_s)
        shown = _read_begun(path)
    with Live(render(shown), console=console, auto_refresh=False) as live:
        while shown.status in (Status.RUNNING, Status.INTERRUPTED):
            time.sleep(interval_s)
            run = read_log(find_log(path))
            if run != shown:
                shown = run
                live.update(render(shown), refresh=True)
    return shown


def summary(run: RunRecord) -> dict[str, Any]:
    """The same for programs: sums over the rounds, and the last figures."""
    traffic = wording.traffic_of(run)
    down, up = sum(t.bytes_down for t in traffic), sum(t.bytes_up for t in traffic)
    devices_down = sum(t.devices_down for t in traffic)
    devices_up = sum(t.devices_up for t in traffic)
    return {
        "status": run.status,
        "source": run.about.source,
        "bundle_digest": run.about.bundle_digest,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "num_resumed": run.num_resumed,
        "rounds_done": len(run.rounds),
        "rounds": run.about.rounds,
        "asked": sum(e.num_asked for e in run.rounds),
        "accepted": sum(e.num_accepted for e in run.rounds),
        "dropped": wording.total(e.dropped for e in run.rounds),
        "refused": wording.total(e.refused for e in run.rounds),
        "failed": wording.total(e.failed for e in run.rounds),
        "groups_given_up": wording.total(e.given_up for e in run.rounds),
        "bytes_down": down,
        "bytes_up": up,
        "bytes_down_per_device_and_round": down / devices_down if devices_down else None,
        "bytes_up_per_device_and_round": up / devices_up if devices_up else None,
        "epsilon": run.epsilon,
        "budget_epsilon": run.about.budget_epsilon,
        "budget_delta": run.about.budget_delta,
        "evaluation": {
            name: {"mean": last.mean, "worst_decile": last.worst_decile, "people": last.people}
            for name in run.measured
            for last in [list(run.scores(name).values())[-1]]
        },
        "judged": None if run.evaluation is None else asdict(run.evaluation),
        "end": dict(run.end),
    }


def _read_begun(path: Path) -> RunRecord | None:
    try:
        return read_log(find_log(path))
    except RunNotBegunError:
        return None


def _facts(run: RunRecord) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    about = run.about
    resumed = f", resumed {wording.times(run.num_resumed)}" if run.num_resumed else ""
    table.add_row("begun", f"{wording.moment(run.started_at)}{resumed}")
    table.add_row("clients", f"{about.num_clients}, {wording.wanted(about)} wanted a round")
    for name in run.measured:
        last = list(run.scores(name).values())[-1]
        table.add_row(
            "accuracy",
            f"{wording.accuracy(last)}, worst tenth {wording.worst(last)} of {last.people} "
            f"{wording.measured(name)}",
        )
    if about.budget_epsilon is None:
        table.add_row("privacy", "no noise, so no guarantee")
    else:
        table.add_row(
            "epsilon",
            f"{wording.epsilon(run.epsilon)} of {about.budget_epsilon:g} at delta "
            f"{about.budget_delta:g}",
        )
    for name, parts in (
        ("dropped", (e.dropped for e in run.rounds)),
        ("refused", (e.refused for e in run.rounds)),
        ("failed", (e.failed for e in run.rounds)),
    ):
        table.add_row(name, wording.counts(wording.total(parts)))
    given_up = wording.total(e.given_up for e in run.rounds)
    if given_up:
        table.add_row("groups", f"gave their sum up: {wording.counts(given_up)}")
    traffic = wording.traffic_of(run)
    if traffic:
        down, up = sum(t.bytes_down for t in traffic), sum(t.bytes_up for t in traffic)
        each_down = wording.each(down, sum(t.devices_down for t in traffic))
        each_up = wording.each(up, sum(t.devices_up for t in traffic))
        table.add_row("down", f"{wording.num_bytes(down)}, {each_down} a device and round")
        table.add_row("up", f"{wording.num_bytes(up)}, {each_up} a device and round")
    times = [e.wall_s for e in run.rounds if e.wall_s is not None]
    left = about.rounds - len(run.rounds)
    if times:
        mean = sum(times) / len(times)
        going_on = run.status == Status.RUNNING and left
        rest = f", about {wording.seconds(left * mean)} left" if going_on else ""
        table.add_row("time", f"{wording.seconds(mean)} a round{rest}")
    return table


def _rounds(run: RunRecord, last: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    columns: list[tuple[str, Callable[[RoundEntry], str]]] = [
        ("round", lambda e: str(e.server_round + 1)),
        ("used", lambda e: f"{e.num_accepted}/{e.num_asked}"),
        ("lost", lambda e: str(sum(e.dropped.values()))),
        ("wrong", lambda e: str(sum(e.refused.values()) + sum(e.failed.values()))),
    ]
    if run.measured:
        name = run.measured[-1]
        columns += [
            ("mean", lambda e: wording.accuracy(e.evaluation.get(name))),
            ("worst", lambda e: wording.worst(e.evaluation.get(name))),
        ]
    if run.about.budget_epsilon is not None:
        columns.append(("epsilon", lambda e: wording.epsilon(e.epsilon)))
    columns.append(
        ("time", lambda e: wording.NONE if e.wall_s is None else wording.seconds(e.wall_s))
    )
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for entry in run.rounds[-last:]:
        table.add_row(*(text(entry) for _, text in columns))
    if len(run.rounds) > last:
        table.caption = f"the last {last} rounds"
        table.caption_justify = "left"
    return table
