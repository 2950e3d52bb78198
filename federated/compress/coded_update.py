"""A whole update as one piece of code: all its tensors together, and what that took from each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk.errors import BadUpdateError, InvalidOptionError
from edge_sdk.grid import flatten, unflatten
from federated.compress.grid import BITS, SEED_BYTES
from federated.compress.update_code import CodeOptions, compress, decompress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sdk.arrays import Float32Array
    from edge_sdk.grid import Shapes
    from edge_sdk.random_words import RandomWords


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateCode:
    """How devices code their updates in rounds without masks.

    Attributes:
        bits: 8 or 16 for each entry that is sent; 0 sends float32.
        keep: Share of the entries that are sent, the largest, in (0, 1]. Where all are sent they
            are rotated first, which makes rounding finer.
    """

    bits: int = 0
    keep: float = 1.0

    def __post_init__(self) -> None:
        if self.bits not in (0, *BITS):
            msg = f"update_bits must be one of {[0, *BITS]}, got {self.bits!r}"
            raise InvalidOptionError(msg)
        if not 0 < self.keep <= 1 or (self.keep < 1 and not self.bits):
            msg = f"update_keep must be in (0, 1], and 1 without update_bits, got {self.keep!r}"
            raise InvalidOptionError(msg)

    def encode(
        self, delta: Mapping[str, Float32Array], random: RandomWords
    ) -> tuple[bytes, dict[str, Float32Array]]:
        """Code an update; returns the bytes, and what the code took from it by tensor.

        Args:
            delta: float32 by tensor, clipped, at least one number.
            random: Of rounding and rotation.
        """
        rotation = random.words(SEED_BYTES // 8).tobytes() if self.keep == 1 else None
        options = CodeOptions(bits=self.bits, keep=self.keep, rotation_seed=rotation)
        seed = random.words(SEED_BYTES // 8).tobytes()
        raw, rest = compress(flatten(delta), options, seed=seed)
        return raw, unflatten(rest, {name: values.shape for name, values in delta.items()})


def decode_update(raw: bytes, shapes: Shapes) -> dict[str, Float32Array]:
    """Read what `UpdateCode.encode` wrote, from a stranger.

    Raises:
        BadUpdateError: It is not the code of an update of these shapes.
    """
    length = sum(math.prod(shape) for shape in shapes.values())
    if not length:
        msg = "malformed compressed update: there is nothing to update"
        raise BadUpdateError(msg)
    return unflatten(decompress(raw, length=length), shapes)
