"""Values as answers that are right or wrong: what lets the guardrail judge a regression.

A predicted value is right where it lies nearer to the taught one than the mean of all the others
that were taught does: that mean is what somebody would say who has not looked at the example. So
"guessing" is right half of the time, and two states are compared example by example, as with
labels. The outputs are measured in units of their own spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from edge_sdk.paired_tests import Answers

if TYPE_CHECKING:
    import numpy.typing as npt

    from edge_sdk.arrays import Float32Array

    Flags = npt.NDArray[np.bool_]
    Float64Array = npt.NDArray[np.float64]

GUESS_RATE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Yardstick:
    """What predictions of n taught values are measured with.

    Attributes:
        values: float64 `[n, outputs]`.
        spread: Variance of each output over all that was taught, 1 where it is 0; `[outputs]`.
        usual: Squared error of the mean of the others, summed over outputs; float64 `[n]`.
    """

    values: Float64Array
    spread: Float64Array
    usual: Float64Array

    @classmethod
    def of(cls, values: Float32Array) -> Self:
        """Of values `[n, outputs]`, n >= 1; a single one is compared with 0."""
        wide = values.astype(np.float64)
        spread = wide.var(axis=0)
        spread[spread == 0] = 1.0
        others = (wide.sum(axis=0) - wide) / max(1, len(wide) - 1)
        return cls(wide, spread, _errors(others, wide, spread))

    def rows(self, which: Flags) -> Yardstick:
        """That of the examples `which`, bool `[n]`."""
        return Yardstick(self.values[which], self.spread, self.usual[which])

    def answers(self, mean: Float32Array) -> Answers:
        """What predictions `[n, outputs]` are worth.

        `probability` is the share that the mean of the others has in both errors, above 0.5 where
        the prediction is right. `largest` stays 0: no value is suspected to be mistaken.
        """
        errors = _errors(mean.astype(np.float64), self.values, self.spread)
        both = errors + self.usual
        share = np.divide(self.usual, both, out=np.full_like(both, 0.5), where=both > 0)
        return Answers(right=errors < self.usual, probability=share, largest=np.zeros_like(share))


def _errors(found: Float64Array, wanted: Float64Array, spread: Float64Array) -> Float64Array:
    errors: Float64Array = ((found - wanted) ** 2 / spread).sum(axis=1)
    return errors
