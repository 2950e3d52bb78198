"""One grid for a whole cohort: clipped updates become integers that can be summed, masked too.

All members round to multiples of one step, so the sum of their integers times the step estimates
the sum of their updates without bias. The grid must reach as far as an entry can: without a
rotation that is the whole clipping norm; after a random rotation an entry is about
norm / sqrt(length), and the same bits give a step that is finer by that factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import _core
from edge_sdk.errors import InvalidOptionError, ShapeMismatchError
from edge_sdk.options import check_clipping_norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_sdk.arrays import Float32Array

BITS = (8, 16)
SEED_BYTES = 32
_TAIL = 1e-3  # chance that a rotated vector has an entry beyond the grid, which is then cut off


@dataclass(frozen=True, kw_only=True, slots=True)
class GridOptions:
    """The grid of a round, the same on every device.

    Attributes:
        length: Entries of the vector, at least 1.
        clipping_norm: L2 bound on one update, finite and positive.
        bits: 8 or 16: an entry is in `-limit..limit`, `limit = 2^(bits - 1) - 1`.
        rotation_seed: 32 bytes that are public and new in each round; None does not rotate.
    """

    length: int
    clipping_norm: float
    bits: int = 8
    rotation_seed: bytes | None = None

    def __post_init__(self) -> None:
        if type(self.length) is not int or self.length < 1:
            msg = f"length must be an integer >= 1, got {self.length!r}"
            raise InvalidOptionError(msg)
        check_clipping_norm(self.clipping_norm)
        if self.bits not in BITS:
            msg = f"bits must be one of {list(BITS)}, got {self.bits!r}"
            raise InvalidOptionError(msg)
        if self.rotation_seed is not None and len(self.rotation_seed) != SEED_BYTES:
            msg = f"rotation_seed must be {SEED_BYTES} bytes"
            raise InvalidOptionError(msg)

    @property
    def limit(self) -> int:
        """Largest magnitude of an entry."""
        return int(2 ** (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        """Distance between neighbours of the grid."""
        if self.rotation_seed is None:
            return self.clipping_norm / self.limit
        # An entry of the rotated vector is a sum of random signs, sub-Gaussian with deviation
        # norm / sqrt(power) at most; the union over all entries gives the tail.
        power = 1 << (self.length.bit_length() - 1)
        width = math.sqrt(2 * math.log(2 * self.length / _TAIL) / power)
        return self.clipping_norm * min(1.0, width) / self.limit

    @property
    def norm_bound(self) -> float:
        """What the L2 norm of a rounded update cannot exceed, for whoever calibrates noise.

        Each entry moves by less than a step, so the norm grows by less than step * sqrt(length).
        """
        return self.clipping_norm + self.step * math.sqrt(self.length)


def round_update(
    values: Float32Array, options: GridOptions, *, seed: bytes
) -> tuple[NDArray[np.int32], Float32Array]:
    """Round a clipped update to the grid at random, without bias.

    Args:
        values: float32 `[length]`, finite, clipped.
        options: The round's grid.
        seed: 32 random bytes of the device's own, used once.

    Returns:
        The integers, int32 `[length]`, and what rounding took (the residual for error feedback:
        add it to the device's next update before that is clipped), float32 `[length]`.

    Raises:
        ShapeMismatchError, DtypeMismatchError, NonFiniteError: `values` is not as above.
    """
    if np.shape(values) != (options.length,):
        msg = f"values must have shape [{options.length}], got {list(np.shape(values))}"
        raise ShapeMismatchError(msg)
    turned = values
    if options.rotation_seed is not None:
        turned = _core.rotate(values, seed=options.rotation_seed)
    rounded, residual = _core.round_to_grid(
        turned, step=options.step, limit=options.limit, seed=seed
    )
    if options.rotation_seed is not None:
        residual = _core.rotate(residual, seed=options.rotation_seed, back=True)
    return rounded, residual


def restore_sum(total: NDArray[np.int64], options: GridOptions) -> Float32Array:
    """The sum of updates from the sum of their integers, float32 `[length]`.

    Args:
        total: int64 `[length]`, noise on the integer grid included.
        options: The round's grid.

    Raises:
        ShapeMismatchError: `total` has another shape.
    """
    if total.shape != (options.length,):
        msg = f"total must have shape [{options.length}], got {list(total.shape)}"
        raise ShapeMismatchError(msg)
    values = (total * options.step).astype(np.float32)
    if options.rotation_seed is None:
        return values
    return _core.rotate(values, seed=options.rotation_seed, back=True)
