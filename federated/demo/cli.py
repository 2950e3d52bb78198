"""`edge-sdk demo`: parse arguments, run the demo, print a table, write the report."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    *,
    out: Annotated[Path, typer.Option(help="The report to write, one HTML file.")] = Path(
        "report.html"
    ),
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write all figures as JSON.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(envvar="EDGE_SDK_DATA", help="Folder with real data: adds Omniglot."),
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Keep checkpoint and bundles here; default: nowhere.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    seeds: Annotated[int, typer.Option(min=2, help="Draws of the new user's examples.")] = 20,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tiny run that only shows that all works.")
    ] = False,
) -> None:
    """Meta-train, export, personalize, forget and federate on real handwriting."""
    from rich.console import Console

    from edge_sdk.errors import InvalidOptionError
    from export.progress import show_progress
    from federated.demo.report import write_report
    from federated.demo.result import as_json
    from federated.demo.run import run_demo
    from federated.demo.studies import DemoOptions
    from federated.demo.table import print_result

    for path in (out, json_path):
        if path is not None and not path.absolute().parent.is_dir():
            msg = f"{path} cannot be written: its folder does not exist; make it first"
            raise InvalidOptionError(msg)
    console = Console(highlight=False)
    options = DemoOptions(seed=seed, seeds=seeds, data=data, quick=quick)

    def say(text: str) -> None:
        console.print(f"[bold]·[/bold] {text}")

    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        result = run_demo(options, folder, say=say, show_progress=lambda: show_progress(sys.stderr))
    if json_path is not None:
        json_path.write_text(json.dumps(as_json(result), indent=1) + "\n", encoding="utf-8")
    write_report(result, out)
    print_result(console, result)
    console.print(f"report: {out}")
