"""What the members of one group agree on before they aggregate: who they are, and their numbers."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np

from edge_sdk.errors import InvalidOptionError
from federated.client_id import check_client_id
from federated.secure.errors import MalformedMessageError, ModulusTooSmallError

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_MEMBERS = 3  # with two, each knows the other's vector from the sum
MAX_MEMBERS = 256  # work and bytes grow with the square; larger cohorts make more groups
NONCE_BYTES = 32
MODULUS_BITS = (16, 32, 64)

_DOMAIN = b"edge-sdk secure aggregation 1\n"
_HEAD = struct.Struct("<32sQHHQQB")  # nonce, round, members, threshold, length, limit, bits


def least_threshold(num_members: int) -> int:
    """The smallest safe threshold: more than two thirds of the members.

    Then no server can have two sets of survivors confirmed, one to learn each kind of share, as
    long as fewer than a third of the members collude with it (Bonawitz et al., section 6.2).
    """
    return 2 * num_members // 3 + 1


def check_capacity(num_members: int, limit: int, modulus_bits: int) -> None:
    """Check that a sum of `num_members` values in `-limit..limit` fits a signed word.

    Raises:
        ModulusTooSmallError: It does not.
    """
    if num_members * limit >= 1 << (modulus_bits - 1):
        msg = (
            f"the sum of {num_members} values of up to {limit} needs more than {modulus_bits} "
            "bits; take smaller groups, fewer value bits, or a larger modulus"
        )
        raise ModulusTooSmallError(msg)


@dataclass(frozen=True, kw_only=True)
class Session:
    """One aggregation in one group. Whoever signs, seals or confirms does so for its `digest`.

    Attributes:
        nonce: 32 random bytes of the server's; they tell sessions apart.
        server_round: Number of the round, from 0.
        members: Client ids, ascending, 3 to 256; a member is its place in this order.
        threshold: Members that must stay to the end, at least `least_threshold`.
        length: Entries of each vector, at least 1.
        limit: Each entry is in `-limit..limit`, at least 1.
        modulus_bits: 16, 32 or 64.

    Raises:
        InvalidOptionError: A value is not as above.
        ModulusTooSmallError: A sum could overflow.
    """

    nonce: bytes
    server_round: int
    members: tuple[str, ...]
    threshold: int
    length: int
    limit: int
    modulus_bits: int = 32

    def __post_init__(self) -> None:
        _check_members(self.members)
        num = len(self.members)
        if len(self.nonce) != NONCE_BYTES:
            msg = f"nonce must be {NONCE_BYTES} random bytes"
            raise InvalidOptionError(msg)
        if self.modulus_bits not in MODULUS_BITS:
            msg = f"modulus_bits must be one of {list(MODULUS_BITS)}, got {self.modulus_bits}"
            raise InvalidOptionError(msg)
        for name, value, least, most in (
            ("server_round", self.server_round, 0, 1 << 63),
            ("threshold", self.threshold, least_threshold(num), num),
            ("length", self.length, 1, 1 << 32),
            ("limit", self.limit, 1, 1 << 63),
        ):
            if type(value) is not int or not least <= value <= most:
                msg = f"{name} must be an integer in {least}..{most}, got {value!r}"
                raise InvalidOptionError(msg)
        check_capacity(num, self.limit, self.modulus_bits)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of all of it, 32 bytes."""
        return hashlib.sha256(_DOMAIN + self.to_bytes()).digest()

    @property
    def vector_bytes(self) -> int:
        """Size of a masked vector."""
        return self.length * self.modulus_bits // 8

    @property
    def word(self) -> np.dtype[np.unsignedinteger]:
        """Little-endian unsigned type of a masked entry."""
        return np.dtype(f"<u{self.modulus_bits // 8}")

    def place(self, client_id: str) -> int | None:
        """A member's place in `members`, or None."""
        return self._places.get(client_id)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {member: place for place, member in enumerate(self.members)}

    def to_bytes(self) -> bytes:
        """What the server sends to open the session."""
        head = _HEAD.pack(
            self.nonce,
            self.server_round,
            len(self.members),
            self.threshold,
            self.length,
            self.limit,
            self.modulus_bits,
        )
        return head + "\n".join(self.members).encode("ascii")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            MalformedMessageError: It is something else, or a session that is not allowed.
        """
        if not _HEAD.size < len(raw) <= _HEAD.size + 129 * MAX_MEMBERS:
            msg = "a session's bytes have the wrong size"
            raise MalformedMessageError(msg)
        nonce, server_round, num, threshold, length, limit, bits = _HEAD.unpack_from(raw)
        try:
            members = tuple(raw[_HEAD.size :].decode("ascii").split("\n"))
            session = cls(
                nonce=nonce,
                server_round=server_round,
                members=members,
                threshold=threshold,
                length=length,
                limit=limit,
                modulus_bits=bits,
            )
        except (UnicodeDecodeError, InvalidOptionError, ModulusTooSmallError) as error:
            msg = "a session's bytes do not hold an allowed session"
            raise MalformedMessageError(msg) from error
        if len(members) != num:
            msg = "a session's bytes do not hold as many members as they say"
            raise MalformedMessageError(msg)
        return session


def _check_members(members: Sequence[str]) -> None:
    if not MIN_MEMBERS <= len(members) <= MAX_MEMBERS:
        msg = f"a group must have {MIN_MEMBERS}..{MAX_MEMBERS} members, got {len(members)}"
        raise InvalidOptionError(msg)
    for member in members:
        check_client_id(member)
    if any(a >= b for a, b in pairwise(members)):
        msg = "members must be distinct and ascending; sort them"
        raise InvalidOptionError(msg)
