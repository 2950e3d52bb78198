"""The `edge-sdk` command's entry point: without typer and rich it says which extra to install.

Importing this package imports neither; `edge_sdk.cli.app` holds the command itself.
"""

from __future__ import annotations

import sys

from edge_sdk.errors import MissingExtraError

__all__ = ["main"]

_EXTRA_MODULES = ("click", "rich", "shellingham", "typer")


def main() -> None:
    """Run the command line with the arguments of this process, and exit.

    Raises:
        SystemExit: Always: 0 on success, 1 on an error of the SDK, 2 on a wrong argument or where
            an extra is not installed.
    """
    try:
        from edge_sdk.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA_MODULES:
            raise
        missing = MissingExtraError(
            f"the command line needs {error.name}; install it with: pip install 'edge-sdk[cli]'"
        )
        sys.stderr.write(f"edge-sdk: {missing}\n")
        raise SystemExit(2) from None
    app(prog_name="edge-sdk")
