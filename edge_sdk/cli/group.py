"""Finds sub-commands by entry point when they are asked for, and shows errors as one clean line."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup
from typer.main import get_command

from edge_sdk.errors import EdgeError, MissingExtraError

if TYPE_CHECKING:
    from click import Command, Context

ENTRY_POINT_GROUP = "edge_sdk.commands"

# The extra that brings what a sub-command imports; commands of other packages are not listed.
_EXTRA_OF = {"demo": "export,federated", "export": "export", "federated": "federated"}
_OWN_PACKAGES = ("edge_sdk", "export", "federated")


class CommandGroup(TyperGroup):
    """The root group: own commands first, then those of the entry points, loaded when named."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Return the names of all commands; nothing is imported."""
        own = super().list_commands(ctx)
        return own + [name for name in sorted(_plugins()) if name not in own]

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Return the command, loaded now; where it cannot load, one that says what to install."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        plugin = _plugins().get(cmd_name)
        return None if plugin is None else _load(plugin)

    def invoke(self, ctx: Context) -> object:
        """Run the command; an error of the SDK becomes one line on stderr and an exit status.

        Raises:
            typer.Exit: 1 after an `EdgeError`, 2 where an extra is missing.
            EdgeError: With `--debug` only.
        """
        try:
            return super().invoke(ctx)
        except (EdgeError, ModuleNotFoundError) as error:
            shown = _explain(error, ctx.invoked_subcommand or "")
            if shown is None or ctx.params.get("debug"):
                raise
            typer.echo(f"edge-sdk: {shown}", err=True)
            raise typer.Exit(2 if isinstance(shown, MissingExtraError) else 1) from error


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _load(plugin: EntryPoint) -> Command:
    try:
        loaded = plugin.load()
    except ImportError as error:
        missing = _explain(error, plugin.name)
        if missing is None:
            raise
        return _refusing_command(plugin.name, missing, error)
    if not isinstance(loaded, typer.Typer):
        msg = f"the entry point {plugin.value} is not a typer app"
        raise TypeError(msg)
    command = get_command(loaded)
    command.name = plugin.name
    return command


def _explain(error: EdgeError | ImportError, command: str) -> EdgeError | None:
    """Return the error to show to the user, or None where only a traceback helps."""
    if isinstance(error, EdgeError):
        return error
    if (error.name or "").partition(".")[0] in _OWN_PACKAGES:
        return None
    what = f"needs {error.name}" if error.name else f"cannot be loaded ({error})"
    extra = _EXTRA_OF.get(command)
    remedy = f"; install it with: pip install 'edge-sdk[{extra}]'" if extra else ""
    return MissingExtraError(f"{command} {what}{remedy}")


def _refusing_command(name: str, reason: EdgeError, cause: ImportError) -> Command:
    """Return a command that takes any arguments and only raises `reason`."""
    refusing = typer.Typer(add_completion=False)

    @refusing.command(
        name,
        help=f"(not available: {cause.name or 'a module'} is not installed)",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def refuse() -> None:
        raise reason from cause

    return get_command(refusing)
