"""What stands for many updates where single ones may be seen and some of them mean harm.

Coordinate-wise median and trimmed mean: Yin, Chen, Ramchandran and Bartlett, "Byzantine-Robust
Distributed Learning: Towards Optimal Statistical Rates", ICML 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

AGGREGATORS = ("mean", "median", "trimmed_mean")


def aggregate(
    values: Sequence[NDArray[np.float32]], aggregator: str, trim_share: float
) -> NDArray[np.float64]:
    """One tensor that stands for `values`, at least one, of one shape; summed in their order.

    Args:
        values: A tensor of each client.
        aggregator: One of `AGGREGATORS`.
        trim_share: Of "trimmed_mean": the share of clients left out at each end, in [0, 0.5).
    """
    if aggregator == "mean":
        total = np.zeros(values[0].shape, np.float64)
        for value in values:
            total += value
        return total / len(values)
    stacked = np.stack(values).astype(np.float64)
    if aggregator == "median":
        return np.asarray(np.median(stacked, axis=0))
    cut = int(trim_share * len(values))
    return np.asarray(np.sort(stacked, axis=0)[cut : len(values) - cut].mean(axis=0))
