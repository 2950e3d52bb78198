"""Random numbers that belong to a device and an event: the same whoever asks, and in what order.

A draw is a hash of (seed, stream, device, event), so a simulation repeats bit for bit however many
threads adapt, and a change in one device's life moves nothing in another's. The mixing function is
the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
Generators", OOPSLA 2014). For simulated worlds only: never for noise or masks.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


class Stream(IntEnum):
    """What a draw is for; no two uses share one."""

    TIER = 1
    TIME_ZONE = 2
    STRAGGLER = 3
    ATTACKER = 4
    HABIT = 5
    WINDOW_START = 6
    WINDOW_LENGTH = 7
    CHARGES = 8
    WIFI = 9
    DURATION = 10
    DROP_BEFORE = 11
    DROP_TRAINING = 12
    DROP_UPLOAD = 13
    LINK = 14
    ATTACK = 15
    CHECK_IN = 16


def uniform(
    seed: int, stream: Stream, device: ArrayLike, event: ArrayLike = 0
) -> NDArray[np.float64]:
    """Draw float64 in [0, 1), one for each pair of `device` and `event`, broadcast together.

    Args:
        seed: Of the simulation, at least 0.
        stream: What for.
        device: Numbers of devices, at least 0.
        event: Day, round or visit, at least 0.
    """
    bits = _hash(_hash(_hash(np.uint64(seed), stream), device), event)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(
    seed: int, stream: Stream, device: ArrayLike, event: ArrayLike = 0
) -> NDArray[np.float64]:
    """Draw standard normal float64, by Box and Muller's method; arguments as for `uniform`."""
    bits = _hash(_hash(_hash(np.uint64(seed), stream), device), event)
    other = _hash(bits, 1)
    first = ((bits >> np.uint64(11)).astype(np.float64) + 1.0) * 2.0**-53
    second = (other >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.sqrt(-2.0 * np.log(first)) * np.cos(2.0 * np.pi * second)


def _hash(state: ArrayLike, value: ArrayLike) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        mixed = np.asarray(state, np.uint64) ^ (
            (np.asarray(value).astype(np.uint64) + np.uint64(1)) * _GOLDEN
        )
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
        return np.asarray(mixed ^ (mixed >> np.uint64(31)))
