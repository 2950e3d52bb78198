"""Sources of values: a task is a function, and its examples are points on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FunctionPool(Protocol):
    """A distribution of functions from inputs to `outputs` numbers."""

    input_shape: tuple[int, ...]
    outputs: int
    description: str

    @property
    def task(self) -> Literal["regression"]:
        """What a learner learns from it."""

    def draw(
        self, functions: int, points: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points on fresh functions.

        Returns:
            Inputs `[functions, points, *input_shape]` and values `[functions, points, outputs]`.
        """


class ValueSource(Protocol):
    """A named source of functions."""

    name: str

    def pool(self, split: str) -> FunctionPool:
        """The functions of `split` ("train", "validation" or "test")."""

    def digest(self) -> str:
        """SHA-256 hex that identifies the distribution, for provenance."""
