"""Between an update's named tensors and one flat vector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from edge_sdk.arrays import as_finite
from edge_sdk.errors import ShapeMismatchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sdk.arrays import Float32Array


@dataclass(frozen=True, slots=True)
class Layout:
    """Names and shapes of tensors, ascending by name: their order in the vector."""

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, tensors: Mapping[str, Float32Array]) -> Self:
        """The layout of these tensors."""
        return cls(tuple((name, tensors[name].shape) for name in sorted(tensors)))

    @property
    def length(self) -> int:
        """Entries of the vector."""
        return sum(math.prod(shape) for _, shape in self.shapes)

    def flatten(self, tensors: Mapping[str, Float32Array]) -> Float32Array:
        """Write the tensors one after the other, float32 `[length]`.

        Raises:
            ShapeMismatchError: They have other names or shapes.
            DtypeMismatchError: One is not float32.
            NonFiniteError: One holds NaN or infinity.
        """
        if Layout.of(tensors) != self:
            msg = "the tensors have not the names and shapes of this layout"
            raise ShapeMismatchError(msg)
        parts = [as_finite(tensors[name], name=name).ravel() for name, _ in self.shapes]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def unflatten(self, vector: Float32Array) -> dict[str, Float32Array]:
        """Take the vector apart.

        Raises:
            ShapeMismatchError: It has another length.
        """
        if vector.shape != (self.length,):
            msg = f"the vector must have shape [{self.length}], got {list(vector.shape)}"
            raise ShapeMismatchError(msg)
        tensors, at = {}, 0
        for name, shape in self.shapes:
            size = math.prod(shape)
            tensors[name] = vector[at : at + size].reshape(shape).copy()
            at += size
        return tensors
