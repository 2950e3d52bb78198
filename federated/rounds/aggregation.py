"""From many updates to one: the mean, or a robust estimate of it where single updates are seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from federated.rounds.records import RoundOptions, Tensors


def aggregate(
    updates: Mapping[str, Tensors], shared: Tensors, options: RoundOptions
) -> dict[str, NDArray[np.float64]]:
    """One tensor of each name that stands for all updates; zeros if there is none.

    Coordinate median and trimmed mean: Yin et al., "Byzantine-Robust Distributed Learning: Towards
    Optimal Statistical Rates", ICML 2018.

    Args:
        updates: Clipped deltas by client id; they are summed in this order.
        shared: The tensors they are for.
        options: Which aggregator.
    """
    if not updates:
        return {name: np.zeros(value.shape) for name, value in shared.items()}
    if options.aggregator == "mean":
        return {name: _mean(updates, name) for name in shared}
    stacked = {
        name: np.stack([delta[name].astype(np.float64) for delta in updates.values()])
        for name in shared
    }
    if options.aggregator == "median":
        return {name: np.median(values, axis=0) for name, values in stacked.items()}
    cut = int(options.trim_share * len(updates))
    return {
        name: np.sort(values, axis=0)[cut : len(updates) - cut].mean(axis=0)
        for name, values in stacked.items()
    }


def _mean(updates: Mapping[str, Tensors], name: str) -> NDArray[np.float64]:
    total = np.zeros(next(iter(updates.values()))[name].shape, np.float64)
    for delta in updates.values():
        total += delta[name]
    return total / len(updates)
