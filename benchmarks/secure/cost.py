"""CPU time and bytes of secure aggregation: what each member and the server spend on a session."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sdk.signing import SigningKey
from federated.secure.client import GroupClient
from federated.secure.groups import GroupOptions, open_sessions
from federated.secure.messages import Kind
from federated.secure.roster import Roster
from federated.secure.server import GroupServer
from federated.secure.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 127


class Stopwatch:
    """CPU milliseconds of this process, by what was running."""

    def __init__(self) -> None:
        self.ms: defaultdict[str, float] = defaultdict(float)

    def run(self, name: str, call: Callable[[], Any]) -> Any:
        """Call, and count its time under `name`."""
        started = time.process_time()
        result = call()
        self.ms[name] += 1000 * (time.process_time() - started)
        return result


def one_session(
    session: Session, keys: dict[str, SigningKey], roster: Roster, num_gone: int
) -> tuple[dict[str, float], float, dict[str, int]]:
    """Run a session in which some members leave before they send their vector.

    Returns:
        CPU ms of one member by stage (mean over those who stayed), CPU ms of the server, and the
        bytes that a member sends and receives (the most of any).
    """
    rng = np.random.default_rng(0)
    values = {m: rng.integers(-LIMIT, LIMIT + 1, session.length) for m in session.members}
    gone = set(session.members[:num_gone])
    member_time, server_time = Stopwatch(), Stopwatch()
    server = server_time.run("server", lambda: GroupServer(session, roster))
    clients: dict[str, GroupClient] = {}
    sent: defaultdict[str, int] = defaultdict(int)
    received: defaultdict[str, int] = defaultdict(int)

    def answer(member: str, raw: bytes, stage: Kind) -> bytes:
        if stage is Kind.KEYS:
            opened = Session.from_bytes(raw)
            clients[member] = GroupClient(opened, member, keys[member], roster)
            return clients[member].keys()
        client = clients[member]
        if stage is Kind.SHARES:
            return client.share(raw)
        if stage is Kind.VECTOR:
            return client.mask(raw, values[member])
        return client.confirm(raw) if stage is Kind.TAGS else client.reveal(raw)

    inbox = dict.fromkeys(session.members, session.to_bytes())
    while server.stage is not None:
        stage = server.stage
        answers = {}
        staying = [m for m in inbox if stage is not Kind.VECTOR or m not in gone]

        def all_answer(
            stage: Kind = stage, staying: list[str] = staying, inbox: dict[str, bytes] = inbox
        ) -> dict[str, bytes]:
            return {m: answer(m, inbox[m], stage) for m in staying}

        before = dict(member_time.ms)
        answers = member_time.run(stage.name, all_answer)
        spent = member_time.ms[stage.name] - before.get(stage.name, 0.0)
        member_time.ms[stage.name] = spent / len(staying)
        for member, raw in answers.items():
            sent[member] += len(raw)
            received[member] += len(inbox[member])
            server_time.run("server", lambda m=member, r=raw: server.receive(m, r))
        inbox = server_time.run("server", server.advance)
    expected = np.sum([values[m] for m in session.members if m not in gone], axis=0)
    np.testing.assert_array_equal(server.result.total, expected)
    traffic = {"sent": max(sent.values()), "received": max(received.values())}
    return dict(member_time.ms), server_time.ms["server"], traffic


def session_cost(
    *, num: int, length: int, modulus_bits: int, share_gone: float, repeats: int
) -> dict[str, Any]:
    """Medians over sessions, with the spread of what a member spends."""
    ids = [f"client-{i:03d}" for i in range(num)]
    keys = {client: SigningKey.generate() for client in ids}
    roster = Roster({client: key.public_key for client, key in keys.items()})
    stages: list[dict[str, float]] = []
    servers: list[float] = []
    traffic: dict[str, int] = {}
    for repeat in range(repeats + 1):
        (session,) = open_sessions(
            ids,
            GroupOptions(size=num, modulus_bits=modulus_bits),
            server_round=repeat,
            length=length,
            limit=LIMIT,
            rng=np.random.default_rng(repeat),
        )
        found, server, traffic = one_session(session, keys, roster, int(num * share_gone))
        if repeat:  # the first warms up
            stages.append(found)
            servers.append(server)
    totals = [sum(found.values()) for found in stages]
    return {
        "members": num,
        "length": length,
        "modulus_bits": modulus_bits,
        "share_gone": share_gone,
        "member_cpu_ms": round(float(np.median(totals)), 2),
        "member_cpu_ms_range": [round(min(totals), 2), round(max(totals), 2)],
        "member_cpu_ms_by_stage": {
            name: round(float(np.median([found[name] for found in stages])), 2)
            for name in stages[0]
        },
        "server_cpu_ms": round(float(np.median(servers)), 2),
        "member_bytes": traffic,
    }
