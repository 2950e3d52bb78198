"""Sessions in one process, for simulations and tests: the state machines, bytes between them."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import EdgeError
from federated.secure.client import GroupClient
from federated.secure.errors import SecureAggregationError
from federated.secure.messages import Kind
from federated.secure.server import GroupServer
from federated.secure.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from edge_sdk.signing import SigningKey
    from federated.secure.roster import Roster
    from federated.secure.server import GroupSum


@dataclass(slots=True)
class Traffic:
    """Bytes by client id: what it sent, what it received."""

    sent: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)

    def add(self, other: Traffic) -> None:
        """Count what another session cost."""
        self.sent.update(other.sent)
        self.received.update(other.received)


@dataclass(slots=True, eq=False)
class CohortSum:
    """What the server learns from a cohort of groups.

    Attributes:
        total: Sum of the vectors of `contributors`, int64 `[length]`.
        contributors: Client ids, ascending.
        failed: Code of the error of each client or group that gave up, by how many.
        traffic: Bytes of each client.
    """

    total: NDArray[np.int64]
    contributors: tuple[str, ...] = ()
    failed: Counter[str] = field(default_factory=Counter)
    traffic: Traffic = field(default_factory=Traffic)


def run_group(
    session: Session,
    keys: Mapping[str, SigningKey],
    roster: Roster,
    values: Mapping[str, NDArray[np.int32] | NDArray[np.int64]],
    *,
    leaves: Mapping[str, Kind] | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[GroupSum, Traffic, Counter[str]]:
    """Run one session to its end.

    Args:
        session: The session.
        keys: Identity key of each member.
        roster: The identity keys of all.
        values: Vector of each member, `[length]`, each entry in `-limit..limit`.
        leaves: The first answer that a member does not give, where it drops out.
        random_bytes: The members' secrets.

    Returns:
        The sum, the bytes, and codes of the errors that members ended in.

    Raises:
        SecureAggregationError: The sum is given up; the class says why.
    """
    server = GroupServer(session, roster)
    traffic, failed = Traffic(), Counter[str]()
    clients: dict[str, GroupClient] = {}
    inbox = dict.fromkeys(session.members, session.to_bytes())
    while server.stage is not None:
        stage = server.stage
        for member, raw in inbox.items():
            traffic.received[member] += len(raw)
            if (leaves or {}).get(member) is stage:
                continue
            try:
                if stage is Kind.KEYS:
                    clients[member] = GroupClient(
                        Session.from_bytes(raw),
                        member,
                        keys[member],
                        roster,
                        random_bytes=random_bytes,
                    )
                answer = _answer(clients[member], stage, raw, values[member])
                traffic.sent[member] += len(answer)
                server.receive(member, answer)
            except EdgeError as error:  # as on a device: that member is gone, the round goes on
                failed[error.code] += 1
        inbox = server.advance()
    return server.result, traffic, failed


def run_cohort(
    sessions: Sequence[Session],
    keys: Mapping[str, SigningKey],
    roster: Roster,
    values: Mapping[str, NDArray[np.int32] | NDArray[np.int64]],
    *,
    leaves: Mapping[str, Kind] | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> CohortSum:
    """Run the sessions of one cohort; a group that gives up is left out and counted.

    Arguments as of `run_group`.
    """
    result = CohortSum(np.zeros(sessions[0].length, np.int64))
    contributors: list[str] = []
    for session in sessions:
        try:
            group, traffic, failed = run_group(
                session, keys, roster, values, leaves=leaves, random_bytes=random_bytes
            )
        except SecureAggregationError as error:
            result.failed[error.code] += 1
            continue
        result.total += group.total
        contributors += group.contributors
        result.traffic.add(traffic)
        result.failed.update(failed)
    result.contributors = tuple(sorted(contributors))
    return result


def _answer(
    client: GroupClient, stage: Kind, raw: bytes, values: NDArray[np.int32] | NDArray[np.int64]
) -> bytes:
    if stage is Kind.KEYS:
        return client.keys()
    if stage is Kind.SHARES:
        return client.share(raw)
    if stage is Kind.VECTOR:
        return client.mask(raw, values)
    if stage is Kind.TAGS:
        return client.confirm(raw)
    return client.reveal(raw)
