"""All suites of a config, one after the other, into one report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from export.benchmark.people_report import people_caption, plot_people
from export.benchmark.plots import plot_cost, plot_curves, plot_waves
from export.benchmark.report import SuiteResults, write_report
from export.benchmark.run import pixel_baseline, run_row
from export.benchmark.waves import WAVES_CAPTION
from export.tasks.base import TEST, ImagePool
from export.tasks.registry import open_any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from export.benchmark.config import BenchmarkConfig, Suite
    from export.benchmark.run import Row
    from export.tasks.base import TaskSource
    from export.tasks.functions import ValueSource

_COMPARABLE = 3
"""Rows from which on a picture of what each costs tells something."""


def run_benchmark(
    config: BenchmarkConfig,
    *,
    data: Path | None,
    work: Path,
    out: Path,
    command: str,
    say: Callable[[str], None] = lambda _: None,
) -> list[SuiteResults]:
    """Train and measure all that the config asks for and is not in `work` yet; write the report.

    The report is written after every learner, so that a run that is stopped has left what it knew.

    Args:
        config: What to do.
        data: The folder with the real data sets.
        work: Checkpoints, bundles and figures; kept for the next run.
        out: Where RESULTS.md, results.json and the plots go.
        command: What the report says that it was made by.
        say: Told what is being done.

    Raises:
        EdgeError: A source, learner or gate fails; what was finished is in `work` and the report.
    """
    results: list[SuiteResults] = []
    for number, suite in enumerate(config.suite):
        source = open_any(suite.tasks, data=data, seed=config.seed)
        pixels = (
            {c.name: pixel_baseline(suite, source, c, config.seed) for c in suite.cells}
            if isinstance(source.pool(TEST), ImagePool) and suite.protocol == "random"
            else {}
        )
        rows: list[Row] = []
        results.append(SuiteResults(suite=suite, rows=rows, pixels=pixels, digest=source.digest()))
        for plan in suite.learner:
            start = next((row for row in rows if row.plan.label == plan.start), None)
            rows.append(
                run_row(plan, suite, source, seed=config.seed, work=work, start=start, say=say)
            )
            plots = _plots(suite, source, rows, config.seed, out, f"{number + 1}-{suite.tasks}")
            results[-1] = replace(results[-1], plots=plots)
            write_report(results, out, seed=config.seed, command=command)
    return results


def _plots(
    suite: Suite,
    source: TaskSource | ValueSource,
    rows: Sequence[Row],
    seed: int,
    out: Path,
    stem: str,
) -> list[tuple[str, str]]:
    found = []
    if suite.people is not None:
        name = f"results/{stem}-people.svg"
        plot_people(rows, suite.people, seed, out / name)
        return [(name, people_caption(suite.people))]
    pool = source.pool(TEST)
    if suite.curve:
        name = f"results/{stem}-curves.svg"
        plot_curves(rows, suite, seed, out / name)
        found.append((name, "Errors over the number of shots, with 95 % intervals."))
    if len(rows) >= _COMPARABLE:
        name = f"results/{stem}-cost.svg"
        plot_cost(rows, suite, seed, out / name)
        found.append((name, "Errors against the time of one adaptation."))
    if not isinstance(pool, ImagePool) and pool.input_shape == (1,):
        name = f"results/{stem}-waves.svg"
        plot_waves(rows, pool, seed, out / name)
        found.append((name, WAVES_CAPTION))
    return found
