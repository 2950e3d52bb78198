"""Noise of DP-FTRL: every prefix of the sum is released with few noises in it, by a binary tree.

Kairouz, McMahan, Song, Thakkar, Thakurta, Xu, "Practical and Private (Deep) Learning without
Sampling or Shuffling", ICML 2021. It asks for no sampling, so it fits devices that come when they
charge; in return a user is used at most once in a tree. With rounds counted from 1, the sum of the
first t rounds carries one noise for each bit that is set in t, so from round to round one noise is
new, and those of the lower bits go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk.discrete_gaussian import sample_discrete_gaussian

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from edge_sdk.random_words import RandomWords


def tree_height(rounds: int) -> int:
    """In how many noised sums of a tree of `rounds` leaves one round can be, at most."""
    return rounds.bit_length()


def noise_count(leaf: int) -> int:
    """How many noises the step of round `leaf`, from 1, holds: the new one and those that go."""
    return (leaf & -leaf).bit_length()


def tree_step(
    nodes: Mapping[str, NDArray[np.int64]], leaf: int, sigma: int, size: int, random: RandomWords
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """The noise that one more round adds to all before it.

    Args:
        nodes: Noises in the last prefix, by level; from the last call, empty in round 1.
        leaf: Number of the round in its tree, from 1.
        sigma: Deviation of each noise, in steps of the grid.
        size: Numbers in an update.
        random: The operating system's randomness.

    Returns:
        The noises in this prefix, and their sum less that of the prefix before, int64 `[size]`.
    """
    level = noise_count(leaf) - 1
    fresh = sample_discrete_gaussian(sigma, size, random)
    change = fresh.copy()
    kept = {name: noise for name, noise in nodes.items() if int(name) > level}
    for name, noise in nodes.items():
        if int(name) < level:
            change -= noise
    kept[str(level)] = fresh
    return kept, change
