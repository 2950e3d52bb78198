"""A group for secure aggregation that a test can stop, and tamper with, between messages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.signing import SigningKey
from federated.secure.client import GroupClient
from federated.secure.messages import Kind
from federated.secure.roster import Roster
from federated.secure.server import GroupServer
from federated.secure.session import Session, least_threshold

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

STAGES = (Kind.KEYS, Kind.SHARES, Kind.VECTOR, Kind.TAGS, Kind.REVEALED)
LIMIT = 100


def seeded_bytes(*seed: int) -> Callable[[int], bytes]:
    """Bytes that are the same in every run."""
    return np.random.default_rng(seed).bytes


@cache
def identity(number: int) -> SigningKey:
    """The identity key of member `number`."""
    del number
    return SigningKey.generate()


@dataclass
class Group:
    """A server, its clients, and their values; `inbox` is what the server sent last."""

    session: Session
    keys: dict[str, SigningKey]
    roster: Roster
    values: dict[str, NDArray[np.int64]]
    server: GroupServer
    clients: dict[str, GroupClient]
    inbox: dict[str, bytes]

    def answer(self, member: str, raw: bytes | None = None) -> bytes:
        """What a member answers to `raw`, or to what is in its inbox."""
        client, got = self.clients[member], self.inbox[member] if raw is None else raw
        calls = {
            Kind.KEYS: client.keys,
            Kind.SHARES: lambda: client.share(got),
            Kind.VECTOR: lambda: client.mask(got, self.values[member]),
            Kind.TAGS: lambda: client.confirm(got),
            Kind.REVEALED: lambda: client.reveal(got),
        }
        assert self.server.stage is not None
        return calls[self.server.stage]()

    def step(self, gone: frozenset[str] | set[str] = frozenset()) -> None:
        """All who are left and not `gone` answer, and the stage closes."""
        for member in list(self.inbox):
            if member not in gone:
                self.server.receive(member, self.answer(member))
        self.inbox = self.server.advance()

    def run_to(self, stage: Kind) -> Group:
        """Go on until the answers of `stage` are awaited."""
        while self.server.stage is not stage:
            self.step()
        return self


def make_group(
    num: int = 6,
    *,
    length: int = 20,
    limit: int = LIMIT,
    modulus_bits: int = 32,
    seed: int = 0,
    nonce: bytes = b"n" * 32,
) -> Group:
    """A fresh group of `num` members m00, m01 ... with random values."""
    members = tuple(f"m{i:02d}" for i in range(num))
    keys = {member: identity(i) for i, member in enumerate(members)}
    roster = Roster({member: key.public_key for member, key in keys.items()})
    session = Session(
        nonce=nonce,
        server_round=3,
        members=members,
        threshold=least_threshold(num),
        length=length,
        limit=limit,
        modulus_bits=modulus_bits,
    )
    rng = np.random.default_rng(seed)
    return Group(
        session=session,
        keys=keys,
        roster=roster,
        values={m: rng.integers(-limit, limit + 1, length) for m in members},
        server=GroupServer(session, roster),
        clients={
            m: GroupClient(session, m, keys[m], roster, random_bytes=seeded_bytes(seed, i))
            for i, m in enumerate(members)
        },
        inbox=dict.fromkeys(members, session.to_bytes()),
    )
