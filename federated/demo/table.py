"""The demo's result as tables in a terminal, readable in 60 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from federated.demo.wording import duration, interval, plus_minus, points, size

if TYPE_CHECKING:
    from rich.console import Console

    from export.intervals import Mean
    from federated.demo.result import DemoResult, StudyResult


def print_result(console: Console, result: DemoResult) -> None:
    """Print every study, then the checks; misses are said plainly."""
    for study in result.studies:
        console.print()
        console.print(Text(study.words.title, style="bold"))
        console.print(f"trained on {study.words.trained_on}", style="dim")
        for table in (_accuracy(study), _facts(study), _checks(study)):
            console.print()
            console.print(table)
    for note in result.notes:
        console.print()
        console.print(note)
    console.print()
    if not result.missed:
        console.print("All targets met, all guards passed.", style="green")
    for study in result.studies:
        for check in study.checks:
            if not check.met:
                text = f"Missed on {study.name}: {check.name}: asked {check.asked}, {check.found}"
                console.print(Text(text, style="bold red"))


def _accuracy(study: StudyResult) -> Table:
    table = _table()
    table.add_column("accuracy, %", overflow="fold")
    for name in ("before", "after"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("gain, points", justify="right", no_wrap=True)
    for shots in (1, 5):
        found = study.few_shot.at(shots)
        name = f"new user, {shots} example{'s' if shots > 1 else ''}"
        _row(table, name, found.baseline, found.adapted, found.gain)
    federated = study.federated
    _row(table, "new writers, nothing taught", federated.before, federated.after, federated.lift)
    if federated.taught is not None:
        taught = federated.taught
        name = f"new writers, {taught.shots} example"
        _row(table, name, taught.old, taught.new, taught.gain)
    table.caption = (
        "before: pixel baseline (new user), old bundle (new writers); ± and [ ]: 95 % intervals"
    )
    table.caption_justify = "left"
    return table


def _row(table: Table, name: str, before: Mean, after: Mean, gain: Mean) -> None:
    low_high = f"{points(gain.mean, sign=True).split()[0]} {interval(gain)}"
    table.add_row(name, plus_minus(before), plus_minus(after), low_high)


def _facts(study: StudyResult) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    export, latency, federated = study.export, study.latency, study.federated
    table.add_row(
        "sizes",
        f"embed {size(export.embed_fp32_bytes)} fp32, {size(export.embed_int8_bytes)} int8; "
        f"bundle {size(export.bundle_bytes)}; update {size(federated.download_bytes)} down, "
        f"{size(federated.upload_bytes)} up",
    )
    table.add_row(
        "medians",
        f"embed {duration(latency.embed_ms)}, adapt on {latency.adapt_examples} "
        f"{duration(latency.adapt_ms)}, predict {duration(latency.predict_ms)}",
    )
    return table


def _checks(study: StudyResult) -> Table:
    table = _table()
    table.add_column("", no_wrap=True)
    table.add_column("check", overflow="fold")
    table.add_column("found", overflow="fold")
    for check in study.checks:
        mark = Text("ok", style="green") if check.met else Text("MISS", style="bold red")
        table.add_row(mark, check.name, check.found)
    return table


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
