"""Who is asked in a round."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from edge_sdk.random_words import integers_below

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sdk.random_words import RandomWords

_POISSON_BITS = 53


def sample_cohort(
    client_ids: Sequence[str], cohort_size: int, rng: np.random.Generator
) -> tuple[str, ...]:
    """Draw `cohort_size` different clients, or all if there are fewer; ids ascending.

    The draw depends on the set of ids and on `rng`, not on the order of `client_ids`.

    Raises:
        InvalidOptionError: There is no client.
    """
    ids = _distinct(client_ids)
    drawn = rng.choice(len(ids), size=min(cohort_size, len(ids)), replace=False)
    return tuple(ids[i] for i in sorted(drawn))


def poisson_cohort(
    client_ids: Sequence[str], sampling_rate: float, random: RandomWords
) -> tuple[str, ...]:
    """Take each client by itself with probability `sampling_rate`; ids ascending, perhaps none.

    Amplification by sampling rests on this: independent draws that nobody else can foresee, so
    `random` is the operating system's outside tests. The rate is never rounded up.

    Raises:
        InvalidOptionError: There is no client, or the rate is outside (0, 1].
    """
    ids = _distinct(client_ids)
    if not 0 < sampling_rate <= 1:
        msg = f"sampling_rate must be in (0, 1], got {sampling_rate!r}"
        raise InvalidOptionError(msg)
    drawn = integers_below(1 << _POISSON_BITS, len(ids), random)
    taken = drawn < math.floor(sampling_rate * (1 << _POISSON_BITS))
    return tuple(ids[i] for i in np.flatnonzero(taken))


def fixed_cohort(
    client_ids: Sequence[str], cohort_size: int, random: RandomWords
) -> tuple[str, ...]:
    """Like `sample_cohort`, with randomness that nobody else can foresee."""
    ids = _distinct(client_ids)
    order = list(range(len(ids)))
    size = min(cohort_size, len(ids))
    for i in range(size):  # Fisher and Yates, as far as it is needed
        j = i + int(integers_below(len(ids) - i, 1, random)[0])
        order[i], order[j] = order[j], order[i]
    return tuple(ids[i] for i in sorted(order[:size]))


def _distinct(client_ids: Sequence[str]) -> list[str]:
    ids = sorted(set(client_ids))
    if not ids:
        msg = "there is no client to sample; add at least one"
        raise InvalidOptionError(msg)
    return ids
