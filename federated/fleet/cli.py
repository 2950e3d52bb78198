"""`edge-sdk federated fleet`: read the config, run the simulation, print what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.errors import MissingExtraError


def fleet_command(
    config: Annotated[Path, typer.Argument(help="TOML file.", show_default=False)],
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", envvar="EDGE_SDK_DATA", help="Folder with the real data sets."),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON instead of tables.")
    ] = False,
) -> None:
    """Simulate a fleet of offline devices on a virtual clock, as CONFIG says.

    Writes a line of metrics for each round, a summary and the next bundle.
    """
    try:
        from federated.fleet.config import read_config
        from federated.fleet.run import simulate_fleet
        from federated.fleet.show import FleetProgress, print_result
    except ModuleNotFoundError as error:
        msg = f"fleet needs {error.name}: pip install 'edge-sdk[export,federated]'"
        raise MissingExtraError(msg) from error

    read = read_config(config)
    with FleetProgress(read.round.rounds) as progress:
        result = simulate_fleet(read, config.parent, data=data, on_round=progress.on_round)
    if json_output:
        typer.echo((config.parent / read.out / "summary.json").read_text(encoding="utf-8"))
    else:
        print_result(result)
