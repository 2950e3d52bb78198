"""Random 64-bit words: from the operating system where privacy rests on them, or from a seed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FRACTION_BITS = 53


class RandomWords(Protocol):
    """A source of independent, uniform 64-bit words."""

    def words(self, count: int) -> NDArray[np.uint64]:
        """`[count]` words."""
        ...


class SystemWords:
    """The operating system's cryptographic generator: the only source that privacy may rest on."""

    def words(self, count: int) -> NDArray[np.uint64]:
        """`[count]` words, uint64."""
        return np.frombuffer(os.urandom(8 * count), np.uint64)


class SeededWords:
    """Repeatable words for tests and simulations: whoever knows the seed can take noise away."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def words(self, count: int) -> NDArray[np.uint64]:
        """`[count]` words, uint64."""
        return self._rng.integers(0, 2**64, size=count, dtype=np.uint64)


def integers_below(limit: int, count: int, random: RandomWords) -> NDArray[np.int64]:
    """Exactly uniform integers in `0..limit-1`, `[count]`, by rejection; `1 <= limit <= 2**63`.

    Raises:
        InvalidOptionError: `limit` is outside that.
    """
    if not 1 <= limit <= 2**63:
        msg = f"limit must be in 1..2**63, got {limit}"
        raise InvalidOptionError(msg)
    mask = np.uint64((1 << (limit - 1).bit_length()) - 1)
    drawn = random.words(count) & mask
    while True:
        above = np.flatnonzero(drawn >= np.uint64(limit))
        if not len(above):
            return drawn.astype(np.int64)
        drawn[above] = random.words(len(above)) & mask


def fractions(count: int, random: RandomWords) -> NDArray[np.float64]:
    """Uniform multiples of 2**-53 in [0, 1), `[count]`, float64."""
    whole = random.words(count) >> np.uint64(64 - _FRACTION_BITS)
    return whole.astype(np.float64) * 2.0**-_FRACTION_BITS
