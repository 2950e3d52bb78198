"""Confidence intervals of means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """A mean and the half-width of its 95 % confidence interval (Student's t)."""

    mean: float
    half_width: float
    count: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half_width


def mean_interval(values: ArrayLike) -> Mean:
    """Mean of independent values (episodes, seeds, users), with its 95 % interval.

    Raises:
        InvalidOptionError: There are fewer than two values.
    """
    data = np.asarray(values, np.float64).ravel()
    if data.size < 2:
        msg = f"an interval needs at least two values, got {data.size}"
        raise InvalidOptionError(msg)
    error = data.std(ddof=1) / math.sqrt(data.size)
    quantile = float(stats.t.ppf(0.975, data.size - 1))
    return Mean(mean=float(data.mean()), half_width=float(quantile * error), count=data.size)
