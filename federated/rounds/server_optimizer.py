"""The server's step from the aggregated update: FedAvg or Reptile, FedAvgM, FedAdam.

Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 2, without bias correction.
Whatever noise is in the aggregate, this is post-processing: it costs no privacy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import DivergedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from federated.rounds.records import RoundOptions, Tensors

_FIRST, _SECOND = "first", "second"


def server_step(
    shared: Tensors,
    aggregate: Mapping[str, NDArray[np.float64]],
    moments: Mapping[str, NDArray[np.float64]],
    options: RoundOptions,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float64]], float]:
    """Move the shared tensors.

    Args:
        shared: As they are, float32.
        aggregate: What stands for the round's updates, float64.
        moments: The optimizer's moments so far, from the last call; empty at the start.
        options: Which optimizer, and its rates.

    Returns:
        The new tensors, the new moments, and the L2 norm of the step.

    Raises:
        DivergedError: A new tensor is not finite.
    """
    stepped: dict[str, NDArray[np.float32]] = {}
    kept: dict[str, NDArray[np.float64]] = {}
    squares = []
    for name, value in shared.items():
        step = options.server_lr * _direction(name, aggregate[name], moments, kept, options)
        squares.append(float(np.sum(np.square(step))))
        with np.errstate(over="ignore"):
            # of a tensor without axes, numpy gives a scalar, which is no array
            stepped[name] = np.asarray(value.astype(np.float64) + step, np.float32)
        if not np.isfinite(stepped[name]).all():
            msg = f"{name} is not finite after the server step; lower server_lr or clipping_norm"
            raise DivergedError(msg)
    return stepped, kept, math.sqrt(math.fsum(squares))


def _direction(
    name: str,
    aggregate: NDArray[np.float64],
    moments: Mapping[str, NDArray[np.float64]],
    kept: dict[str, NDArray[np.float64]],
    options: RoundOptions,
) -> NDArray[np.float64]:
    if options.server_optimizer == "sgd":
        return aggregate
    first = moments.get(f"{_FIRST}/{name}", np.zeros_like(aggregate))
    if options.server_optimizer == "momentum":
        kept[f"{_FIRST}/{name}"] = options.momentum * first + aggregate
        return kept[f"{_FIRST}/{name}"]
    second = moments.get(f"{_SECOND}/{name}", np.full_like(aggregate, options.adaptivity**2))
    first = options.momentum * first + (1 - options.momentum) * aggregate
    squared = np.square(aggregate)
    second = options.second_moment * second + (1 - options.second_moment) * squared
    kept[f"{_FIRST}/{name}"], kept[f"{_SECOND}/{name}"] = first, second
    return first / (np.sqrt(second) + options.adaptivity)
