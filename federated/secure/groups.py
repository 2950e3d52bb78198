"""A cohort in groups: each aggregates by itself, so work and bytes do not grow with the cohort."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError
from federated.secure.session import (
    MAX_MEMBERS,
    MIN_MEMBERS,
    MODULUS_BITS,
    NONCE_BYTES,
    Session,
    least_threshold,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupOptions:
    """How a cohort is split.

    Attributes:
        size: Members of a group, about: 3 to 256. Groups differ by one member at most.
        modulus_bits: 16, 32 or 64: bytes of an entry, and room for the sum of a group.
    """

    size: int = 32
    modulus_bits: int = 32

    def __post_init__(self) -> None:
        if type(self.size) is not int or not MIN_MEMBERS <= self.size <= MAX_MEMBERS:
            msg = f"size must be an integer in {MIN_MEMBERS}..{MAX_MEMBERS}, got {self.size!r}"
            raise InvalidOptionError(msg)
        if self.modulus_bits not in MODULUS_BITS:
            msg = f"modulus_bits must be one of {list(MODULUS_BITS)}, got {self.modulus_bits!r}"
            raise InvalidOptionError(msg)


def form_groups(
    client_ids: Sequence[str], size: int, rng: np.random.Generator
) -> tuple[tuple[str, ...], ...]:
    """Split clients at random into groups of `size` or less, as equal as they can be.

    Raises:
        InvalidOptionError: A group would have fewer than 3 members.
    """
    ids = sorted(set(client_ids))
    num_groups = -(-len(ids) // size)
    if num_groups == 0 or len(ids) // num_groups < MIN_MEMBERS:
        msg = f"{len(ids)} clients cannot be split into groups of {MIN_MEMBERS} to {size}"
        raise InvalidOptionError(msg)
    order = [ids[i] for i in rng.permutation(len(ids))]
    return tuple(tuple(sorted(order[first::num_groups])) for first in range(num_groups))


def open_sessions(
    client_ids: Sequence[str],
    options: GroupOptions,
    *,
    server_round: int,
    length: int,
    limit: int,
    rng: np.random.Generator,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    min_threshold: int = 0,
) -> tuple[Session, ...]:
    """Open one session for each group of a cohort, with the least safe threshold.

    Args:
        client_ids: The cohort.
        options: Size of the groups, and modulus.
        server_round: Number of the round, from 0.
        length: Entries of each vector.
        limit: Each entry is in `-limit..limit`.
        rng: Draws the groups.
        random_bytes: Makes the sessions' nonces.
        min_threshold: No group's sum is revealed with fewer members in it, whatever is safe.

    Raises:
        InvalidOptionError: Too few clients, or a number out of range.
        ModulusTooSmallError: The sum of a group could overflow.
    """
    return tuple(
        Session(
            nonce=random_bytes(NONCE_BYTES),
            server_round=server_round,
            members=members,
            threshold=max(least_threshold(len(members)), min_threshold),
            length=length,
            limit=limit,
            modulus_bits=options.modulus_bits,
        )
        for members in form_groups(client_ids, options.size, rng)
    )
