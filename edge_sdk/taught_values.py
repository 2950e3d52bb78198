"""How an example of a bundle that learns values is kept: its features and its value, in one row.

The store seals, checks and forgets a row as a whole, so that a value is never apart from the
features that it belongs to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from edge_sdk.arrays import Float32Array
    from edge_sdk.manifest import Manifest
    from edge_sdk.store_rows import Example


@dataclass(frozen=True, slots=True)
class RowShape:
    """What the store holds of one example.

    Attributes:
        features: Shape of its features.
        outputs: Numbers of its value, behind them; 0 where labels are taught.
    """

    features: tuple[int, ...]
    outputs: int

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Of a bundle's examples."""
        outputs = (manifest.outputs or 0) if manifest.task == "regression" else 0
        return cls(manifest.features.shape, outputs)

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of a row: the features', or one axis for features and value together."""
        if not self.outputs:
            return self.features
        return (math.prod(self.features) + self.outputs,)

    def join(self, features: Float32Array, values: Float32Array) -> Float32Array:
        """Rows `[n, *stored]` of features `[n, *features]` and values `[n, outputs]`."""
        return np.concatenate([features.reshape(len(features), -1), values], axis=1)

    def split(
        self, examples: tuple[Example, ...], rows: Float32Array
    ) -> tuple[tuple[Example, ...], Float32Array]:
        """The examples with their values, and features `[n, *features]`, of rows `[n, *stored]`."""
        if not self.outputs:
            return examples, rows
        values = rows[:, -self.outputs :].tolist()
        features = np.ascontiguousarray(rows[:, : -self.outputs])
        valued = tuple(
            replace(example, value=tuple(value))
            for example, value in zip(examples, values, strict=True)
        )
        return valued, features.reshape(len(rows), *self.features)
