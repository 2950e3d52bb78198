"""The Flower app that a run is started from, and the surroundings of Flower's processes."""

from __future__ import annotations

import os
import re
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = "127.0.0.1"

FLOWER_SETTINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}

APP = """\
[project]
name = "edge-sdk-rounds"
version = "1.0.0"
description = "Federated rounds on an Edge SDK bundle"
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41.0,<1.42"]

[tool.flwr.app]
publisher = "edge-sdk"
fab-format-version = 1
flwr-version-target = "1.41.0"

[tool.flwr.app.components]
serverapp = "federated.server_app:app"
clientapp = "federated.client_app:app"

[tool.flwr.app.config]
"""


def flower_environment(home: Path) -> dict[str, str]:
    """The environment of a Flower process: its own home, our programs first, nothing reported."""
    programs = Path(sys.executable).parent
    return {
        **os.environ,
        **FLOWER_SETTINGS,
        "FLWR_HOME": str(home),
        "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)]),
    }


def write_app(app: Path, run_config: Mapping[str, str | float]) -> None:
    """Write the Flower app that a run is started from into a folder.

    Raises:
        InvalidOptionError: A value cannot be written.
    """
    config = toml(run_config)
    app.mkdir(parents=True, exist_ok=True)
    (app / "LICENSE").write_text("Apache-2.0\n", "utf-8")  # Flower asks for such a file
    (app / "pyproject.toml").write_text(APP + config, "utf-8")


def free_ports(count: int) -> list[int]:
    """Ports on `HOST` that are free now, chosen by the system."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def toml(values: Mapping[str, str | float], separator: str = "\n") -> str:
    """Write flat `key = value` pairs that TOML and Flower's command line read alike."""
    parts = []
    for key, value in values.items():
        if isinstance(value, str):
            if re.search(r"[\x00-\x1f\x7f\"'\\]", value):
                msg = f"{key} must not hold quotes, backslashes or control characters"
                raise InvalidOptionError(msg)
            parts.append(f'{key}="{value}"')
        else:
            parts.append(f"{key}={value!r}")
    return separator.join(parts)
