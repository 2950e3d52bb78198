"""How many examples of a label are kept, and which: pure functions of arrays and options."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from edge_sdk.errors import InvalidOptionError
from edge_sdk.options import check_count, check_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sdk.arrays import Float32Array

Policy = Literal["most_recent", "reservoir", "herding"]

MAX_PER_LABEL = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """The most examples that one label may keep; `teach` lets go of the others at once.

    Attributes:
        per_label: Examples of one label, at least 1.
        policy: Which are kept.
            `most_recent`: the newest.
            `reservoir`: a uniform sample of all that were ever taught, as J. S. Vitter's algorithm
            R (1985) keeps of a stream; here each example's draw is a hash of its features and
            `seed`, and the lowest draws stay, so that nothing has to be counted and the result
            can be repeated. Equal examples share their draw.
            `herding`: those whose mean is greedily nearest to the mean of the features of the kept
            and the new ones (Welling, "Herding dynamical weights to learn", ICML 2009).
        seed: For `reservoir`; 0 <= seed < 2**63.
    """

    per_label: int
    policy: Policy = "most_recent"
    seed: int = 0

    def __post_init__(self) -> None:
        check_count(self.per_label, name="per_label", largest=MAX_PER_LABEL)
        if self.policy not in get_args(Policy):
            msg = f"policy must be one of {', '.join(get_args(Policy))}"
            raise InvalidOptionError(msg)
        check_seed(self.seed)


def chosen(capacity: Capacity, features: Float32Array) -> tuple[int, ...]:
    """Which rows of one label's features `[n, *shape]`, oldest first, stay: indices, ascending.

    At most `capacity.per_label` of them; all where there are no more.
    """
    num_rows, size = len(features), capacity.per_label
    if num_rows <= size:
        return tuple(range(num_rows))
    if capacity.policy == "most_recent":
        return tuple(range(num_rows - size, num_rows))
    if capacity.policy == "reservoir":
        return _lowest_draws(features, size, capacity.seed)
    return tuple(sorted(herd(features.reshape(num_rows, -1), size)))


def _lowest_draws(features: Float32Array, size: int, seed: int) -> tuple[int, ...]:
    key = seed.to_bytes(8, "little")
    draws = [hashlib.blake2b(row.astype("<f4").tobytes(), key=key).digest() for row in features]
    lowest = sorted(range(len(draws)), key=lambda row: (draws[row], row))[:size]
    return tuple(sorted(lowest))


def herd(rows: Float32Array, size: int) -> Sequence[int]:
    """Greedy mean matching on `rows` `[n, dim]`: `size` indices, in the order chosen.

    Each choice brings the mean of the chosen rows nearest (L2, in float64) to the mean of all rows;
    the first of equals wins.
    """
    wide = rows.astype(np.float64)
    target = wide.mean(axis=0)
    total = np.zeros_like(target)
    free = np.ones(len(wide), dtype=bool)
    order: list[int] = []
    for count in range(1, size + 1):
        gaps = ((wide + total - count * target) ** 2).sum(axis=1)
        best = int(np.argmin(np.where(free, gaps, np.inf)))
        order.append(best)
        free[best] = False
        total += wide[best]
    return order
