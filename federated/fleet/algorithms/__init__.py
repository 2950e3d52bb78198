"""Personalization-aware algorithms on the learner contract, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError
from federated.fleet.algorithms.ditto import Ditto
from federated.fleet.algorithms.fedavg import FedAvg, FedAvgGlobal
from federated.fleet.algorithms.fedper import FedPer
from federated.fleet.algorithms.fedrep import FedRep

if TYPE_CHECKING:
    from edge_sdk import Engine
    from federated.fleet.algorithms.base import Algorithm
    from federated.fleet.options import AlgorithmOptions

ALGORITHMS: dict[str, type[Algorithm]] = {
    FedAvg.name: FedAvg,
    FedAvgGlobal.name: FedAvgGlobal,
    FedPer.name: FedPer,
    FedRep.name: FedRep,
    Ditto.name: Ditto,
}
"""One line each; what is new is a file and a line."""


def make_algorithm(engine: Engine, options: AlgorithmOptions, *, threads: int) -> Algorithm:
    """Make the algorithm that `options` names.

    Args:
        engine: The bundle that all devices hold, loaded.
        options: Which, and its settings.
        threads: Devices that adapt at a time.

    Raises:
        InvalidOptionError: There is no such algorithm, or the bundle does not fit it.
    """
    if options.name not in ALGORITHMS:
        msg = f"no algorithm is called {options.name!r}; there are {', '.join(sorted(ALGORITHMS))}"
        raise InvalidOptionError(msg)
    return ALGORITHMS[options.name](engine, options, threads=threads)
