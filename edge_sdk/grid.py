"""The integer grid that clipped updates are rounded to, so that their sum and its noise are exact.

Whatever way it rounds, the L2 norm of the integers is checked as integers: a bound on one user's
contribution that no rounding error can break.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edge_sdk import _core
from edge_sdk.errors import InvalidOptionError
from edge_sdk.options import check_clipping_norm
from edge_sdk.random_words import fractions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from numpy.typing import NDArray

    from edge_sdk.arrays import Float32Array
    from edge_sdk.random_words import RandomWords

    Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

_Number = TypeVar("_Number", np.float32, np.float64)

MAX_STEPS_IN_NORM = 1 << 22
_SHRINK = 1 - 2.0**-40


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Multiples of `clipping_norm / steps_in_norm`.

    Attributes:
        clipping_norm: L2 bound on an update before it is rounded, finite and positive.
        steps_in_norm: How many steps of the grid make up the clipping norm, 1..2**22.
        size: Numbers in one update, at least 1.
    """

    clipping_norm: float
    steps_in_norm: int
    size: int

    def __post_init__(self) -> None:
        check_clipping_norm(self.clipping_norm)
        for name, value, most in (
            ("steps_in_norm", self.steps_in_norm, MAX_STEPS_IN_NORM),
            ("size", self.size, 1 << 40),
        ):
            if type(value) is not int or not 1 <= value <= most:
                msg = f"{name} must be an integer in 1..{most}, got {value!r}"
                raise InvalidOptionError(msg)

    @property
    def step(self) -> float:
        """What one unit of the integers stands for."""
        return self.clipping_norm / self.steps_in_norm

    @property
    def stochastic_bound_squared(self) -> int:
        """Largest squared L2 norm of integers rounded at random, in steps.

        Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism" (ICML 2021), theorem 1
        with beta = exp(-1/2): at least 1 - beta of all roundings are within it.
        """
        norm, root = self.steps_in_norm, math.sqrt(self.size)
        likely = norm**2 + self.size / 4 + (norm + root / 2)
        return math.floor(min(likely, (norm + root) ** 2))

    def toward_zero(self, flat: Float32Array) -> NDArray[np.int64]:
        """Round toward zero: no norm grows, so the bound is `steps_in_norm` itself.

        The bias, under half a step for each number, is what a fine grid makes negligible.

        Args:
            flat: A clipped update, float32 `[size]`, of norm at most `clipping_norm`.

        Returns:
            Integers, int64 `[size]`, whose L2 norm is at most `steps_in_norm`.

        Raises:
            InvalidOptionError: Another size, not finite, or not clipped.
        """
        total = np.zeros(self.size, np.int64)
        self.add_toward_zero({"flat": flat}, total)
        return total

    def add_toward_zero(self, delta: Mapping[str, Float32Array], total: NDArray[np.int64]) -> None:
        """Round an update toward zero, in the core, and add it to a sum.

        Args:
            delta: A clipped update, float32; its tensors are taken as `flatten` does.
            total: The sum, int64 `[size]`; on an error it is what it was.

        Raises:
            InvalidOptionError: As `toward_zero`.
        """
        ordered = {name: delta[name] for name in sorted(delta)}
        norm = _core.joint_norm(ordered)
        if sum(tensor.size for tensor in ordered.values()) != self.size or not math.isfinite(norm):
            msg = f"an update must be {self.size} finite numbers"
            raise InvalidOptionError(msg)
        if norm > self.clipping_norm * (1 + 1e-9):
            msg = "an update must be clipped to the grid's clipping norm first"
            raise InvalidOptionError(msg)
        scale = self.steps_in_norm / self.clipping_norm
        while not _core.add_rounded(total, ordered, scale, float(self.steps_in_norm**2)):
            scale *= _SHRINK

    def stochastic(self, flat: Float32Array, random: RandomWords) -> NDArray[np.int64]:
        """Round each number up or down at random, again until the norm keeps its bound.

        Unbiased but for that condition, so it serves coarse grids.

        Args:
            flat: A clipped update, float32 `[size]`, of norm at most `clipping_norm`.
            random: Where the randomness comes from.

        Returns:
            Integers, int64 `[size]`, of squared norm at most `stochastic_bound_squared`.

        Raises:
            InvalidOptionError: Another size, not finite, or not clipped.
        """
        exact = flat.astype(np.float64) * self._scale(flat)
        low = np.floor(exact)
        rest = exact - low
        while True:
            rounded = (low + (fractions(self.size, random) < rest)).astype(np.int64)
            if int(rounded @ rounded) <= self.stochastic_bound_squared:
                return rounded

    def _scale(self, flat: Float32Array) -> float:
        """Steps for 1.0; refuses what would not end within the bound."""
        if flat.shape != (self.size,) or not np.isfinite(flat).all():
            msg = f"an update must be {self.size} finite numbers"
            raise InvalidOptionError(msg)
        # BLAS in double precision: far closer than this slack, which is far below any noise.
        wide = flat.astype(np.float64)
        if math.sqrt(float(wide @ wide)) > self.clipping_norm * (1 + 1e-9):
            msg = "an update must be clipped to the grid's clipping norm first"
            raise InvalidOptionError(msg)
        return self.steps_in_norm / self.clipping_norm


def flatten(tensors: Mapping[str, Float32Array]) -> Float32Array:
    """All tensors as one vector, sorted by name, float32."""
    if not tensors:
        return np.empty(0, np.float32)
    return np.concatenate([np.ravel(tensors[name]) for name in sorted(tensors)])


def unflatten(flat: NDArray[_Number], shapes: Shapes) -> dict[str, NDArray[_Number]]:
    """The tensors that `flatten` was given, from a vector of all their numbers.

    Raises:
        InvalidOptionError: The number of numbers is another.
    """
    names = sorted(shapes)
    sizes = [math.prod(shapes[name]) for name in names]
    if flat.shape != (sum(sizes),):
        msg = f"the tensors hold {sum(sizes)} numbers, got {list(flat.shape)}"
        raise InvalidOptionError(msg)
    ends = np.cumsum(sizes)
    return {
        name: flat[end - size : end].reshape(shapes[name])
        for name, size, end in zip(names, sizes, ends, strict=True)
    }
