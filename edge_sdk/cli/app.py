"""The root of the `edge-sdk` command: its options, `inspect`, and how errors are shown."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.cli.group import CommandGroup
from edge_sdk.cli.inspection import as_json, print_bundle
from edge_sdk.cli.trust import add_commands

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks would show local variables: user data
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edge-sdk {version('edge-sdk')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="EDGE_SDK_DEBUG", help="Show a traceback with an error."),
    ] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Teach a model new classes, users and styles on the device."""
    del debug, show_version  # CommandGroup.invoke reads the one, a callback answered the other


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)],
    *,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """Verify every file of a bundle and show what it holds."""
    from edge_sdk.bundle import open_bundle

    opened = open_bundle(bundle)
    if json_output:
        typer.echo(json.dumps(as_json(opened), indent=1, sort_keys=True))
    else:
        print_bundle(opened)


add_commands(app)
