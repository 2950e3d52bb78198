"""The messages of a session as bytes: one strict layout for all (docs/SECURE_AGGREGATION.md).

A message is a header (magic, version, kind, session digest, party, number of items) and items of
one size, which the kind and the session fix, each after the place of the member that it concerns.
So the size of a message follows from its header, and nothing is allocated for what it claims.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn

from federated.secure.errors import MalformedMessageError, OutOfOrderError, WrongSessionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federated.secure.session import Session

SERVER = 0xFFFF  # the party of what the server sends
KEY_BYTES = 32
SIGNATURE_BYTES = 64
TAG_BYTES = 32
SHARE_BYTES = 33
SEALED_BYTES = 2 * SHARE_BYTES + 16

_MAGIC = b"ESSA"
_VERSION = 1
_HEAD = struct.Struct("<4sBB32sHH")
_PLACE = struct.Struct("<H")


class Kind(IntEnum):
    """What a message is; a member sends the odd kinds, the server the even ones."""

    KEYS = 1
    KEY_BOOK = 2
    SHARES = 3
    SHARE_DELIVERY = 4
    VECTOR = 5
    SURVIVORS = 6
    TAGS = 7
    TAG_DELIVERY = 8
    REVEALED = 9


_ITEM_BYTES = {
    Kind.KEYS: 3 * KEY_BYTES + SIGNATURE_BYTES,
    Kind.KEY_BOOK: 3 * KEY_BYTES + SIGNATURE_BYTES,
    Kind.SHARES: SEALED_BYTES,
    Kind.SHARE_DELIVERY: SEALED_BYTES,
    Kind.SURVIVORS: 0,
    Kind.TAGS: TAG_BYTES,
    Kind.TAG_DELIVERY: TAG_BYTES,
    Kind.REVEALED: 1 + SHARE_BYTES,
}


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was read.

    Attributes:
        party: Place of the member that sent it, or that it is for.
        items: By place of the member that they concern, ascending.
    """

    party: int
    items: dict[int, bytes]


def encode(kind: Kind, session: Session, party: int, items: Mapping[int, bytes]) -> bytes:
    """Write a message; items are as long as its kind says."""
    parts = [_HEAD.pack(_MAGIC, _VERSION, kind, session.digest, party, len(items))]
    for place in sorted(items):
        parts += (_PLACE.pack(place), items[place])
    return b"".join(parts)


def decode(kind: Kind, session: Session, raw: bytes) -> Message:
    """Read a message of one kind and session.

    Raises:
        MalformedMessageError: It is no message, or one that does not fit this group.
        WrongSessionError: It belongs to another session.
        OutOfOrderError: It is of another kind.
    """
    if len(raw) < _HEAD.size:
        _malformed("it is too short")
    magic, version, found, digest, party, count = _HEAD.unpack_from(raw)
    if magic != _MAGIC or version != _VERSION:
        _malformed("it does not start as a message of version 1 does")
    if digest != session.digest:
        msg = "a message belongs to another session; it was replayed or misrouted"
        raise WrongSessionError(msg)
    if found != kind:
        msg = f"a message of kind {found} came where {kind.name} ({kind.value}) belongs"
        raise OutOfOrderError(msg)
    size = session.vector_bytes if kind is Kind.VECTOR else _ITEM_BYTES[kind]
    if len(raw) != _HEAD.size + count * (_PLACE.size + size):
        _malformed("its size does not match its number of items")
    num = len(session.members)
    if party >= num and party != SERVER:
        _malformed("its party is not in the group")
    items: dict[int, bytes] = {}
    last = -1
    for at in range(_HEAD.size, len(raw), _PLACE.size + size):
        (place,) = _PLACE.unpack_from(raw, at)
        if not last < place < num:
            _malformed("its items are not of distinct members in their order")
        items[place] = raw[at + _PLACE.size : at + _PLACE.size + size]
        last = place
    return Message(party, items)


def session_of(raw: bytes) -> bytes:
    """The digest of the session that a message says it belongs to, 32 bytes.

    Raises:
        MalformedMessageError: It is no message.
    """
    if len(raw) < _HEAD.size:
        _malformed("it is too short")
    digest: bytes = _HEAD.unpack_from(raw)[3]
    return digest


def _malformed(what: str) -> NoReturn:
    msg = f"malformed message: {what}"
    raise MalformedMessageError(msg)
