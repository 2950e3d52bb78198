"""What a person sees of a running simulation: a progress bar, and a table at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from federated.fleet.availability import HOUR_S
from federated.fleet.driver import LOSSES
from federated.scores import score

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from federated.fleet.driver import VisitReport
    from federated.fleet.run import FleetResult
    from federated.round_core import RoundReport
    from federated.scores import Score

_MB = 1e6
_LINES = 20


class FleetProgress:
    """What the last round was like: on a bar in a terminal, elsewhere in about twenty lines a run.

    Args:
        rounds: How many there will be.
        console: Where to; standard error by default.
    """

    def __init__(self, rounds: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._rounds = rounds
        self._progress = Progress(
            TextColumn("round"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=rounds)
        self._accuracy = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def on_round(self, report: RoundReport, visits: VisitReport, scores: dict[str, Score]) -> None:
        """Move on by a round."""
        if "after_teaching" in scores:
            self._accuracy = f", {100 * scores['after_teaching'].mean:.1f} % after teaching"
        text = (
            f"{visits.closed_s / HOUR_S:.1f} h, {report.num_accepted} of {visits.asked} updates"
            f"{self._accuracy}"
        )
        self._progress.update(self._task, advance=1, description=text)
        done = report.server_round + 1
        if not self._console.is_terminal and done * _LINES % self._rounds < _LINES:
            line = f"round {done}/{self._rounds}: {text}"
            self._console.print(line, soft_wrap=True, highlight=False)


def print_result(result: FleetResult) -> None:
    """Print what happened, and how the people who took no part are served."""
    table = Table("stage", "devices")
    table.add_row("asked", str(sum(entry.asked for entry in result.visits)))
    for stage in (*LOSSES, "finished"):
        count = sum(getattr(entry, stage) for entry in result.visits)
        table.add_row(stage.replace("_", " "), str(count))
    console = Console(highlight=False)
    console.print(table)
    table = Table("people who took no part", "accuracy", "worst tenth")
    for name, values in (("before teaching", result.before), ("after teaching", result.after)):
        found = score(values)
        table.add_row(name, f"{100 * found.mean:.1f} %", f"{100 * found.worst_decile:.1f} %")
    console.print(table)
    if result.judged is not None:
        console.print(result.judged.verdict.for_people())
    sent = sum(entry.bytes_down for entry in result.visits) / _MB
    received = sum(entry.bytes_up for entry in result.visits) / _MB
    console.print(
        f"{result.visits[-1].closed_s / HOUR_S:.1f} virtual hours, {sent:.1f} MB sent to devices, "
        f"{received:.1f} MB received"
    )
