"""Rounds and studies as tables for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from federated.evaluation.cli import outcome

if TYPE_CHECKING:
    from pathlib import Path

    from export.intervals import Mean
    from federated.study import StudyReport


def print_study(report: StudyReport, out: Path) -> None:
    """Print what a study measured."""
    print_rounds([asdict(entry) for entry in report.rounds], report.per_round)
    table = Table("writers who took no part", "accuracy before teaching", "95 % interval")
    for name, mean, unit in (
        ("old bundle", report.before, "%"),
        ("new bundle", report.after, "%"),
        ("gain, paired", report.gain, "points"),
    ):
        table.add_row(name, f"{100 * mean.mean:.1f} {unit}", _interval(mean))
    console = Console(highlight=False)
    console.print(table)
    if report.privacy is not None:
        console.print(report.privacy.for_people())
    console.print(outcome(report.evaluation, out))


def print_rounds(rounds: list[dict[str, Any]], accuracy: tuple[float, ...] = ()) -> None:
    """Print a table of rounds, from reports as JSON."""
    columns = ["round", "updates", "sampled", "missing", "refused", "failed", "step"]
    table = Table(*columns, *(["accuracy"] if accuracy else []))
    for entry in rounds:
        cells = [
            str(entry["server_round"] + 1),
            str(entry["num_accepted"]),
            str(entry["num_sampled"]),
            str(entry["num_missing"]),
            _counts({**entry["refused"], **entry.get("given_up", {})}),
            _counts(entry["failed"]),
            f"{entry['step_norm']:.3g}",
        ]
        if accuracy:
            cells.append(f"{100 * accuracy[entry['server_round']]:.1f} %")
        table.add_row(*cells)
    Console(highlight=False).print(table)


def _counts(by_reason: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in by_reason.items()) or "0"


def _interval(mean: Mean) -> str:
    return f"{100 * mean.low:.1f} to {100 * mean.high:.1f}"
