"""What each member of a masked round makes of its clipped update: integers that can be summed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.discrete_gaussian import MAX_SIGMA
from edge_sdk.errors import InvalidOptionError
from edge_sdk.grid import Grid, flatten, unflatten
from edge_sdk.update import clip_to_norm
from federated.compress.grid import SEED_BYTES, GridOptions, restore_sum, round_update
from federated.privacy.mechanism import DeviceNoise, NoisePlan, noised_contribution

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge_sdk.arrays import Float32Array
    from edge_sdk.random_words import RandomWords

FINE_STEPS = 1 << 20
"""With 32 bits for an entry a grid this fine costs no byte more than a coarse one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """The same for all members of a round.

    Attributes:
        size: Numbers in an update, at least 1.
        clipping_norm: L2 bound on an update.
        steps_in_norm: Steps of the grid in the clipping norm. Without noise numbers are rounded
            toward zero: the same integers at each time.
        sigma: Deviation of the noise that each device adds, in steps; 0 for none.
        bits: 8 or 16: rounded at random to so many bits, with error feedback; 0 for the grid above.
        rotation_seed: With `bits`: 32 public bytes, new in each round.

    Raises:
        InvalidOptionError: They cannot be had, or not together.
    """

    size: int
    clipping_norm: float
    steps_in_norm: int = FINE_STEPS
    sigma: int = 0
    bits: int = 0
    rotation_seed: bytes = b""

    def __post_init__(self) -> None:
        if type(self.sigma) is not int or not 0 <= self.sigma <= MAX_SIGMA:
            msg = f"sigma must be an integer in 0..{MAX_SIGMA}, got {self.sigma!r}"
            raise InvalidOptionError(msg)
        if self.bits and self.sigma:
            msg = "noise is for the fine grid: set bits to 0"
            raise InvalidOptionError(msg)
        if self.bits:
            self._compressed()
        else:
            self._grid()

    @property
    def limit(self) -> int:
        """Largest absolute number that a device sends."""
        if self.bits:
            return self._compressed().limit
        if not self.sigma:
            return self.steps_in_norm
        return NoisePlan(
            grid=self._grid(),
            sigma=self.sigma,
            sensitivity=self.sensitivity,
            device=self._noise(),
        ).device_limit

    @property
    def sensitivity(self) -> float:
        """Bound on the L2 norm of one device's integers before its noise."""
        return math.sqrt(self._grid().stochastic_bound_squared)

    def encode(
        self, delta: Mapping[str, Float32Array], random: RandomWords
    ) -> tuple[NDArray[np.int64], dict[str, Float32Array] | None]:
        """What a device sends, under masks.

        Args:
            delta: Its update, float32 by tensor, `size` numbers in all.
            random: The operating system's randomness.

        Returns:
            int64 `[size]`, each in `-limit..limit`; and what rounding took from the update, float32
            by tensor, where that is to be added to the next one.

        Raises:
            InvalidOptionError: Another size; or a noise beyond the limit, which has a chance under
                1e-30 and sends nothing.
        """
        if self.bits:
            flat = flatten(clip_to_norm(delta, self.clipping_norm))
            seed = random.words(SEED_BYTES // 8).tobytes()
            rounded, rest = round_update(flat, self._compressed(), seed=seed)
            shapes = {name: values.shape for name, values in delta.items()}
            return rounded.astype(np.int64), unflatten(rest, shapes)
        if not self.sigma:
            flat = flatten(clip_to_norm(delta, self.clipping_norm))
            return self._grid().toward_zero(flat), None
        values = noised_contribution(delta, self.clipping_norm, self._noise(), random)
        if values.shape != (self.size,) or int(np.abs(values).max()) > self.limit:
            msg = f"a noised update must be {self.size} numbers within its limit; nothing is sent"
            raise InvalidOptionError(msg)
        return values, None

    def decode(self, total: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum of updates from the sum of their integers, float64 `[size]`."""
        if self.bits:
            return restore_sum(total, self._compressed()).astype(np.float64)
        return total.astype(np.float64) * self._grid().step

    def _grid(self) -> Grid:
        return Grid(
            clipping_norm=self.clipping_norm, steps_in_norm=self.steps_in_norm, size=self.size
        )

    def _noise(self) -> DeviceNoise:
        return DeviceNoise(steps_in_norm=self.steps_in_norm, sigma=self.sigma)

    def _compressed(self) -> GridOptions:
        return GridOptions(
            length=self.size,
            clipping_norm=self.clipping_norm,
            bits=self.bits,
            rotation_seed=self.rotation_seed or None,
        )
