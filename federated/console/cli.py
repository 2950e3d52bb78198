"""`edge-sdk federated status` and `report`: how a run stands, and a page about it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edge_sdk.errors import InvalidOptionError, MissingExtraError

RunArgument = Annotated[
    Path,
    typer.Argument(
        help="The run: its log, the folder that holds it, or the bundle that it writes.",
        show_default=False,
    ),
]


def status_command(
    run: RunArgument,
    *,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Go on until the run has completed or failed; wait for its log."
        ),
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, help="With --watch: seconds between two looks.")
    ] = 1.0,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """Show how a run stands: rounds, accuracy, privacy spent, who was lost and why, bytes.

    Exit status 1 where the run failed or was interrupted.
    """
    from federated.console.status import render, summary
    from federated.console.status import watch as watch_run
    from federated.run_log.reader import find_log, read_log
    from federated.run_log.records import Status

    console = Console(highlight=False)
    if watch and json_output:
        msg = "--watch is for people; leave it out, or leave out --json"
        raise InvalidOptionError(msg)
    if watch:
        found = watch_run(run, console, interval_s=interval)
    else:
        found = read_log(find_log(run))
        if json_output:
            content = {**summary(found), "per_round": [asdict(entry) for entry in found.rounds]}
            typer.echo(json.dumps(content, indent=1, sort_keys=True))
        else:
            console.print(render(found))
    if found.status in (Status.FAILED, Status.INTERRUPTED):
        raise typer.Exit(1)


def report_command(
    run: RunArgument,
    *,
    out: Annotated[Path, typer.Option("--out", help="The page to write, one HTML file.")] = Path(
        "report.html"
    ),
) -> None:
    """Write one HTML page about a run: accuracy, privacy, participation, drop-outs, bytes."""
    from federated.run_log.reader import find_log, read_log

    try:
        from federated.console.report import write_report
    except ModuleNotFoundError as error:
        msg = f"report needs {error.name}: pip install 'edge-sdk[federated]'"
        raise MissingExtraError(msg) from error

    if not out.absolute().parent.is_dir():
        msg = f"{out} cannot be written: its folder does not exist; make it first"
        raise InvalidOptionError(msg)
    write_report(read_log(find_log(run)), out)
    typer.echo(f"report: {out}")
