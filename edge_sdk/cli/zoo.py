"""`edge-sdk zoo`: the bundles that come with the SDK, and a copy of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_sdk.zoo import copy_pretrained, pretrained, pretrained_names

if TYPE_CHECKING:
    from edge_sdk.bundle import Bundle

app = typer.Typer(help="List the bundles that come with the SDK, or copy one.")


@app.callback(invoke_without_command=True)
def zoo(
    context: typer.Context,
    *,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of text.")
    ] = False,
) -> None:
    """List the bundles that come with the SDK, or copy one."""
    if context.invoked_subcommand is not None:
        return
    found = {name: _facts(pretrained(name)) for name in pretrained_names()}
    if json_output:
        typer.echo(json.dumps(found, indent=1, sort_keys=True))
        return
    console = Console(highlight=False)
    for name, facts in found.items():
        console.print(Text(name, style="bold"))
        console.print(_table(facts))
        console.print()
    console.print("edge_sdk.pretrained(NAME) opens one, edge-sdk zoo copy NAME FOLDER copies it.")


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="Name of a bundle.", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="The folder to make.", show_default=False)],
) -> None:
    """Copy a bundle out of the SDK, for an app to ship."""
    typer.echo(str(copy_pretrained(name, folder)))


def _facts(bundle: Bundle) -> dict[str, Any]:
    """What to know of a bundle before choosing it, as JSON values."""
    manifest = bundle.manifest
    provenance: Any = manifest.provenance  # its form is that of `export.zoo`, pinned by the digest
    return {
        "learner": manifest.learner,
        "ways": manifest.ways,
        "input": {"shape": list(manifest.input.shape), "description": manifest.input.description},
        "licence": provenance["licence"],
        "trained_on": provenance["data"],
        "evaluation": provenance["evaluation"],
        "size_bytes": sum(entry.size for entry in manifest.files.values())
        + len(bundle.raw_manifest),
        "version": manifest.version,
        "digest": bundle.digest,
        "path": str(bundle.path),
    }


def _table(facts: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    data = facts["trained_on"]
    rows = {
        "learner": f"{facts['learner']}, up to {facts['ways']} labels",
        "input": f"{_shape(facts['input']['shape'])}: {facts['input']['description']}",
        "trained on": ", ".join(f"{name} ({of['licence']})" for name, of in data.items()),
        "licence": facts["licence"],
        "size": f"{facts['size_bytes'] / 1000:.0f} kB",
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    for number, found in enumerate(facts["evaluation"]):
        table.add_row("" if number else "accuracy", Text(_accuracy(found)))
    return table


def _shape(shape: list[int]) -> str:
    return f"float32 [{', '.join(['n', *map(str, shape)])}]"


def _accuracy(found: dict[str, Any]) -> str:
    mean, half_width = 100 * found["accuracy"], 100 * found["half_width"]
    return f"{mean:.2f} ± {half_width:.2f} %, {found['tasks']}, {found['cell']}"
