"""Random 64-bit words: from the operating system where privacy rests on them, or from a seed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FRACTION_BITS = 53
_WORD = np.dtype(np.uint64)
_PARTS = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32), _WORD)


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

    Small ones take a part of a word each, and of a limit of 1 nothing is drawn: the operating
    system's randomness is most of what noise costs.

    Raises:
        InvalidOptionError: `limit` is outside that.
    """
    if not 1 <= limit <= 2**63:
        msg = f"limit must be in 1..2**63, got {limit}"
        raise InvalidOptionError(msg)
    bits = (limit - 1).bit_length()
    if bits == 0:
        return np.zeros(count, np.int64)
    drawn = _bits(bits, count, random)
    while True:
        above = np.flatnonzero(drawn >= limit) if limit < 1 << bits else ()
        if not len(above):
            return drawn.astype(np.int64)
        drawn[above] = _bits(bits, len(above), random)


def _bits(bits: int, count: int, random: RandomWords) -> NDArray[np.unsignedinteger]:
    """Uniform integers of `bits` bits, 1..64, `[count]`, in the smallest type that holds them."""
    kind = next(kind for kind in _PARTS if 8 * kind.itemsize >= bits)
    parts = random.words(-(-count * kind.itemsize // _WORD.itemsize)).view(kind)[:count]
    return parts & kind.type((1 << bits) - 1)


def fractions(count: int, random: RandomWords) -> NDArray[np.float64]:
    """Uniform multiples of 2**-53 in [0, 1), `[count]`, float64."""
    whole = random.words(count) >> np.uint64(64 - _FRACTION_BITS)
    return whole.astype(np.float64) * 2.0**-_FRACTION_BITS
