"""A member of a group: answers each message of the server once, reveals no more than it must."""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from federated.secure import key_agreement as ka
from federated.secure import shamir
from federated.secure.errors import (
    BadShareError,
    ForgedKeyError,
    InconsistentSurvivorsError,
    MalformedMessageError,
    NotAMemberError,
    OutOfOrderError,
    TooFewMembersError,
)
from federated.secure.messages import KEY_BYTES, SERVER, SHARE_BYTES, Kind, Message, decode, encode
from federated.secure.session import Session
from federated.secure.vectors import as_words, masked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from edge_sdk.signing import SigningKey
    from federated.secure.key_agreement import Channel, MemberKeys
    from federated.secure.roster import Roster

SELF_SHARE = 0  # of the seed of the self mask of a member that is left
MASK_SHARE = 1  # of the mask key of a member that is gone


@dataclass(slots=True)
class _Secrets:
    """What a member must forget when the session ends."""

    channel_key: X25519PrivateKey
    mask_key: X25519PrivateKey
    seed: bytes
    channels: dict[int, Channel] = field(default_factory=dict)
    shares: dict[int, bytes] = field(default_factory=dict)


class GroupClient:
    """One member in one session.

    The methods are called in the order below, each once; a bad message raises a typed error,
    changes nothing and may be followed by a good one. A client that is told of two sets of
    survivors confirms the first and refuses the second, so that nobody learns both shares of a
    member.

    Args:
        session: What the server opened; read it with `Session.from_bytes`.
        client_id: The member.
        key: Its identity key.
        roster: The identity keys of all, from where the coordinator cannot change them.
        min_members: Refuse smaller groups: the sum of a small group says more of each member.
        random_bytes: Gives that many bytes of cryptographic quality.

    Raises:
        NotAMemberError: The session is not for this client, or its group is too small.
        ForgedKeyError: `key` is not the one that the roster has for this client.
    """

    def __init__(
        self,
        session: Session,
        client_id: str,
        key: SigningKey,
        roster: Roster,
        *,
        min_members: int = 3,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        place = session.place(client_id)
        if place is None:
            msg = "this client is not a member of the session"
            raise NotAMemberError(msg)
        if len(session.members) < min_members:
            msg = f"the group has {len(session.members)} members, this client wants {min_members}"
            raise NotAMemberError(msg)
        if roster.keys.get(client_id) != key.public_key:
            msg = "the roster has another identity key for this client; enrol this one"
            raise ForgedKeyError(msg)
        self._session, self._place = session, place
        self._identity, self._roster = key, roster
        self._random = random_bytes
        self._next: Kind | None = Kind.KEYS
        self._secrets = _Secrets(
            channel_key=ka.private_key(random_bytes(KEY_BYTES)),
            mask_key=ka.private_key(random_bytes(KEY_BYTES)),
            seed=random_bytes(KEY_BYTES),
        )
        self._own: MemberKeys | None = None
        self._book: dict[int, MemberKeys] = {}
        self._context = b""
        self._survivors: frozenset[int] = frozenset()
        self._agreed = b""

    def keys(self) -> bytes:
        """Stage 1: this session's public keys, signed."""
        self._expect(Kind.KEYS)
        self._own = ka.MemberKeys(
            channel=self._secrets.channel_key.public_key().public_bytes_raw(),
            mask=self._secrets.mask_key.public_key().public_bytes_raw(),
            promise=ka.promise(self._session, self._place, self._secrets.seed),
        )
        item = ka.sign_keys(self._session, self._place, self._own, self._identity)
        return self._answer(Kind.KEYS, {self._place: item})

    def share(self, key_book: bytes) -> bytes:
        """Stage 2: shares of this member's secrets, sealed to each of the others.

        Raises:
            ForgedKeyError: A key is not signed by its member, or this member's own was swapped.
            TooFewMembersError: The book has fewer keys than the threshold.
        """
        self._expect(Kind.SHARES)
        message = self._read(Kind.KEY_BOOK, key_book, for_all=True)
        self._require_enough(len(message.items))
        book = {}
        for place, raw in message.items.items():
            if place == self._place:
                book[place] = ka.split_keys(raw)
            else:
                book[place] = ka.verify_keys(self._session, place, raw, self._roster)
        if book.get(self._place) != self._own:
            msg = "the key book does not have this member's own keys"
            raise ForgedKeyError(msg)
        context = ka.book_digest(self._session, book)
        own = self._secrets.channel_key
        channels = {
            place: ka.channel(own, keys.channel, context, self._place, place)
            for place, keys in book.items()
            if place != self._place
        }
        points = [place + 1 for place in book]
        threshold, random = self._session.threshold, self._random
        of_key = shamir.split(self._secrets.mask_key.private_bytes_raw(), threshold, points, random)
        of_seed = shamir.split(self._secrets.seed, threshold, points, random)
        shares = {place: a + b for place, a, b in zip(book, of_key, of_seed, strict=True)}
        self._book, self._context = book, context
        self._secrets.channels = channels
        self._secrets.shares = {self._place: shares[self._place]}
        sealed = {
            place: ka.seal(one.seal_key, context, self._place, place, shares[place])
            for place, one in channels.items()
        }
        return self._answer(Kind.SHARES, sealed)

    def mask(self, delivery: bytes, values: object) -> bytes:
        """Stage 3: the values under the masks with all who shared, and under the self mask.

        Args:
            delivery: The shares of the others.
            values: int32 or int64 `[length]`, each in `-limit..limit`.

        Raises:
            BadShareError: A share does not open: it is old, forged, or its sender was told of other
                keys than this member was.
            TooFewMembersError: Fewer than the threshold shared.
            DtypeMismatchError, ShapeMismatchError, InvalidOptionError: `values` is not as above.
        """
        self._expect(Kind.VECTOR)
        words = as_words(values, self._session)
        message = self._read(Kind.SHARE_DELIVERY, delivery)
        self._require_enough(len(message.items) + 1)
        shares = dict(self._secrets.shares)
        for place, sealed in message.items.items():
            one = self._channel(place)
            shares[place] = ka.unseal(one.seal_key, self._context, place, self._place, sealed)
        own = self._secrets.mask_key
        seeds = {
            place: ka.mask_seed(own, self._book[place].mask, self._context, self._place, place)
            for place in message.items
        }
        vector = masked(
            words,
            [self._secrets.seed, *(seed for place, seed in seeds.items() if place > self._place)],
            [seed for place, seed in seeds.items() if place < self._place],
        )
        self._secrets.shares = shares
        return self._answer(Kind.VECTOR, {self._place: vector.tobytes()})

    def confirm(self, survivors: bytes) -> bytes:
        """Stage 4: confirm to each survivor which members are left.

        Raises:
            NotAMemberError: This member is not left: its vector came too late and stays masked.
            TooFewMembersError: Fewer than the threshold are left.
            MalformedMessageError: A member is left that never shared.
        """
        self._expect(Kind.TAGS)
        named = frozenset(self._read(Kind.SURVIVORS, survivors, for_all=True).items)
        if self._place not in named:
            msg = "this member is not among the survivors: its vector is not in the sum"
            raise NotAMemberError(msg)
        if not named <= self._secrets.shares.keys():
            msg = "malformed message: it names a survivor that shared nothing"
            raise MalformedMessageError(msg)
        self._require_enough(len(named))
        self._survivors = named
        self._agreed = ka.survivors_digest(self._context, named)
        tags = {place: self._tag(place, self._place, place) for place in named - {self._place}}
        return self._answer(Kind.TAGS, tags)

    def reveal(self, tags: bytes) -> bytes:
        """Stage 5: one share of each member: of the seed of those left, of the key of those gone.

        Raises:
            InconsistentSurvivorsError: Fewer than the threshold were told of the same survivors.
        """
        self._expect(Kind.REVEALED)
        message = self._read(Kind.TAG_DELIVERY, tags)
        agreed = 1 + sum(
            place in self._survivors
            and place != self._place
            and hmac.compare_digest(tag, self._tag(place, place, self._place))
            for place, tag in message.items.items()
        )
        if agreed < self._session.threshold:
            msg = (
                f"{agreed} members confirm these survivors, {self._session.threshold} must: the "
                "server told others something else, or they are gone; nothing is revealed"
            )
            raise InconsistentSurvivorsError(msg)
        revealed = {}
        for place, both in self._secrets.shares.items():
            if place in self._survivors:
                revealed[place] = bytes((SELF_SHARE,)) + both[SHARE_BYTES:]
            else:
                revealed[place] = bytes((MASK_SHARE,)) + both[:SHARE_BYTES]
        answer = self._answer(Kind.REVEALED, revealed)
        del self._secrets  # nothing is left to answer
        return answer

    def to_bytes(self) -> bytes:
        """All of it between two answers: secrets, so what keeps it must seal it.

        Raises:
            OutOfOrderError: The session is over: nothing is left to keep.
        """
        if self._next is None:
            msg = "the session is over, and its secrets are gone"
            raise OutOfOrderError(msg)
        held = self._secrets
        channels = {place: one.seal_key + one.tag_key for place, one in held.channels.items()}
        kept = {
            "session": self._session.to_bytes().hex(),
            "next": int(self._next),
            "channel_key": held.channel_key.private_bytes_raw().hex(),
            "mask_key": held.mask_key.private_bytes_raw().hex(),
            "seed": held.seed.hex(),
            "own": self._own.raw.hex() if self._own else "",
            "channels": _to_hex(channels),
            "shares": _to_hex(held.shares),
            "book": _to_hex({place: keys.raw for place, keys in self._book.items()}),
            "context": self._context.hex(),
            "survivors": sorted(self._survivors),
            "agreed": self._agreed.hex(),
        }
        return json.dumps(kept).encode("ascii")

    @classmethod
    def from_bytes(cls, raw: bytes, client_id: str, key: SigningKey, roster: Roster) -> Self:
        """The member that `to_bytes` was called on; nobody else's bytes may come here.

        Raises:
            NotAMemberError, ForgedKeyError: As the constructor.
        """
        kept = json.loads(raw)
        session = Session.from_bytes(bytes.fromhex(kept["session"]))
        client = cls(session, client_id, key, roster, min_members=0)
        channels = _from_hex(kept["channels"])
        client._secrets = _Secrets(
            channel_key=ka.private_key(bytes.fromhex(kept["channel_key"])),
            mask_key=ka.private_key(bytes.fromhex(kept["mask_key"])),
            seed=bytes.fromhex(kept["seed"]),
            channels={
                place: ka.Channel(both[:KEY_BYTES], both[KEY_BYTES:])
                for place, both in channels.items()
            },
            shares=_from_hex(kept["shares"]),
        )
        client._next = Kind(kept["next"])
        client._own = ka.split_keys(bytes.fromhex(kept["own"])) if kept["own"] else None
        client._book = {place: ka.split_keys(one) for place, one in _from_hex(kept["book"]).items()}
        client._context = bytes.fromhex(kept["context"])
        client._survivors = frozenset(kept["survivors"])
        client._agreed = bytes.fromhex(kept["agreed"])
        return client

    @property
    def session(self) -> Session:
        """The session that it is a member of."""
        return self._session

    def _tag(self, other: int, sender: int, recipient: int) -> bytes:
        key = self._secrets.channels[other].tag_key
        return ka.survivor_tag(key, self._agreed, sender, recipient)

    def _channel(self, place: int) -> Channel:
        channel = self._secrets.channels.get(place)
        if channel is None:
            msg = "a share comes from a member that has no keys in this session"
            raise BadShareError(msg)
        return channel

    def _expect(self, kind: Kind) -> None:
        if self._next is not kind:
            awaited = "none: the session is over" if self._next is None else self._next.name
            msg = f"this member's next answer is {awaited}, and {kind.name} was asked for"
            raise OutOfOrderError(msg)

    def _answer(self, kind: Kind, items: dict[int, bytes]) -> bytes:
        raw = encode(kind, self._session, self._place, items)
        self._next = Kind(kind + 2) if kind < Kind.REVEALED else None
        return raw

    def _read(self, kind: Kind, raw: bytes, *, for_all: bool = False) -> Message:
        message = decode(kind, self._session, raw)
        if message.party != (SERVER if for_all else self._place):
            msg = "malformed message: it is not for this member"
            raise MalformedMessageError(msg)
        return message

    def _require_enough(self, num: int) -> None:
        if num < self._session.threshold:
            msg = f"{num} members are left, {self._session.threshold} must be; the sum is given up"
            raise TooFewMembersError(msg)


def _to_hex(by_place: Mapping[int, bytes]) -> dict[str, str]:
    return {str(place): raw.hex() for place, raw in by_place.items()}


def _from_hex(by_place: Mapping[str, str]) -> dict[int, bytes]:
    return {int(place): bytes.fromhex(raw) for place, raw in by_place.items()}
