"""The root of the `edge-sdk` command: its options, `inspect`, `log`, and how errors are shown."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.cli.group import CommandGroup
from edge_sdk.cli.inspection import as_json, print_bundle
from edge_sdk.cli.trust import add_commands
from edge_sdk.cli.zoo import app as zoo_app

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


@app.command()
def log(
    home: Annotated[Path, typer.Argument(help="The user's home folder.", show_default=False)],
    *,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only say whether the log is whole.")
    ] = False,
    head: Annotated[
        str | None,
        typer.Option(help="With --verify: a head noted earlier that the log must still hold."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="First cut off a torn last line, and record that.")
    ] = False,
) -> None:
    """Show and verify what happened to a user's model; exit status 1 where the log is not whole."""
    from edge_sdk.audit import AuditLog
    from edge_sdk.cli.log_view import log_as_json, print_log, verdict
    from edge_sdk.errors import AuditError

    audit = AuditLog(home)
    if not audit.path.is_file():
        msg = f"there is no {audit.path.name} in that folder"
        raise AuditError(msg)
    if repair:
        audit.repair()
    report = audit.verify(head=head)
    if json_output:
        content = log_as_json(() if verify else audit.records(), report)
        typer.echo(json.dumps(content, indent=1, sort_keys=True))
    else:
        if not verify:
            print_log(audit.records())
        typer.echo(verdict(report), err=not report.ok)
    if not report.ok:
        raise typer.Exit(1)


add_commands(app)
app.add_typer(zoo_app, name="zoo")
