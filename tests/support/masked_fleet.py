"""Devices of a masked round in one process: the Grid is a queue, the ClientApp is the real one.

Each message is answered by a fresh call of the ClientApp, as in a process of its own; what it may
carry on is its node's context, which a test can lose or keep old.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from flwr.app import Context, Message, RecordDict

from edge_sdk import Engine, Personalizer, open_bundle
from edge_sdk.grid import Grid
from edge_sdk.signing import SigningKey
from federated import client_app
from federated.local_round import shared_tensors
from federated.round_core import RoundTask
from federated.secure.coding import FINE_STEPS
from federated.secure.grid_group import GridLink
from federated.secure.grid_server import MaskedRounds
from federated.secure.messages import Kind
from federated.secure.options import MaskingOptions
from federated.secure.roster import Roster
from federated.settings import ClientSettings, encode_client_settings
from tests.support.secure import identity
from tests.support.tiny import class_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from federated.privacy.mechanism import DecodedSum, SecureSum
    from federated.privacy.options import PrivacyOptions

INVITATION = 0
CLIPPING_NORM = 0.5


def asked_for(msg: Message) -> int:
    """The number of the stage that a message of the server opens; 0 for the invitation."""
    kind = msg.content["stage"]["kind"]  # type: ignore[index, call-overload]
    assert isinstance(kind, int)
    return kind


@dataclass
class Fleet:
    """Nodes 1, 2, ... with a user each.

    Attributes:
        settings: By client id.
        leaves: The first stage that a client does not answer.
        tamper: Changes what reaches a client; None loses it.
        forge: Changes what a client answered.
    """

    settings: dict[str, ClientSettings]
    masking: MaskingOptions
    leaves: dict[str, int] = field(default_factory=dict)
    tamper: Callable[[str, Message], Message | None] = lambda _, msg: msg
    forge: Callable[[str, Message, Message], Message] = lambda _, __, reply: reply
    states: dict[str, RecordDict] = field(default_factory=dict)
    sent: list[tuple[str, Message]] = field(default_factory=list)
    replies: list[tuple[str, Message]] = field(default_factory=list)

    @property
    def nodes(self) -> dict[str, int]:
        return {client: number for number, client in enumerate(sorted(self.settings), start=1)}

    def call(self, client: str, msg: Message) -> Message:
        """Run the ClientApp once, as a process would."""
        state = self.states.setdefault(client, RecordDict())
        context = Context(
            run_id=1,
            node_id=self.nodes[client],
            node_config=encode_client_settings(self.settings[client]),
            state=copy.deepcopy(state),
            run_config={},
        )
        reply = client_app.app(message=msg, context=context)
        self.states[client] = context.state
        return reply

    def push(self, outgoing: Mapping[int, Message]) -> dict[str, int]:
        clients = {node: client for client, node in self.nodes.items()}
        self._waiting: dict[int, Message] = dict(outgoing)
        pending = {}
        for node, msg in outgoing.items():
            msg.metadata.__dict__["_message_id"] = f"m{len(self.sent)}"
            self.sent.append((clients[node], msg))
            pending[f"m{len(self.sent) - 1}"] = node
        return pending

    def pull(self, pending: dict[str, int]) -> Iterator[tuple[int, Message | None]]:
        for sent, node in list(pending.items()):
            client, msg = self.sent[int(sent[1:])]
            if self.leaves.get(client, 99) <= asked_for(msg):
                continue
            reached = self.tamper(client, msg)
            if reached is None:
                continue
            reply = self.forge(client, msg, self.call(client, reached))
            self.replies.append((client, reply))
            del pending[sent]
            yield node, reply

    def link(self) -> GridLink:
        return GridLink(self.push, self.pull, poll_s=0.001)

    def round(
        self, *, privacy: PrivacyOptions | None = None, task: RoundTask | None = None
    ) -> SecureSum | DecodedSum:
        masked = MaskedRounds.open(self.masking, privacy)
        return masked.collect(task or self.task(), self.nodes, self.link())

    def task(self, **changes: object) -> RoundTask:
        bundle = open_bundle(next(iter(self.settings.values())).bundle)
        fields: dict[str, object] = {
            "server_round": 2,
            "cohort": tuple(sorted(self.settings)),
            "shared": shared_tensors(bundle, Engine(bundle).initial_state()),
            "bundle_digest": bundle.digest,
            "clipping_norm": CLIPPING_NORM,
            "steps": None,
            **changes,
        }
        return RoundTask(**fields)  # type: ignore[arg-type]

    def updates(self) -> dict[str, dict[str, np.ndarray]]:
        """What each client would send without masks."""
        found = {}
        for client, device in self.settings.items():
            with Personalizer(device.bundle, home=device.home) as personalizer:
                found[client] = dict(personalizer.update(CLIPPING_NORM).delta)
        return found


def make_fleet(folder: Path, bundle: Path, num: int = 4, **masking: object) -> Fleet:
    """`num` users u00, u01, ... who taught what the bundle's labels mean, each in their own way."""
    authority = SigningKey.generate()
    clients = [f"u{i:02d}" for i in range(num)]
    keys = {client: identity(i) for i, client in enumerate(clients)}
    (folder / "keys").mkdir()
    for client, key in keys.items():
        key.write(folder / "keys" / client)
    authority.write(folder / "authority")
    Roster({c: k.public_key for c, k in keys.items()}).write(folder / "roster", authority)
    rng = np.random.default_rng(5)
    settings = {}
    for client in clients:
        with Personalizer(bundle, home=folder / "homes" / client) as personalizer:
            for slot, label in enumerate(open_bundle(bundle).manifest.labels):
                personalizer.teach(label, class_examples(rng, 2, seed=slot))
        settings[client] = ClientSettings(
            client_id=client,
            bundle=str(bundle),
            home=str(folder / "homes" / client),
            identity_key=str(folder / "keys" / client),
            roster=str(folder / "roster"),
            authority=str(folder / "authority.pub"),
        )
    options = {
        "roster": str(folder / "roster"),
        "authority": str(folder / "authority.pub"),
        "stage_deadline_s": 0.2,
        **masking,
    }
    return Fleet(settings=settings, masking=MaskingOptions(**options))  # type: ignore[arg-type]


def exact_sum(fleet: Fleet, clients: set[str]) -> np.ndarray:
    """The sum of these clients' updates on the fine grid, computed without the protocol."""
    updates = fleet.updates()
    size = sum(value.size for value in next(iter(updates.values())).values())
    grid = Grid(clipping_norm=CLIPPING_NORM, steps_in_norm=FINE_STEPS, size=size)
    total = np.zeros(size, np.int64)
    for client in clients:
        grid.add_toward_zero(updates[client], total)
    return total * grid.step


STAGE_NAMES = {0: "INVITATION", **{int(kind): kind.name for kind in Kind if kind % 2}}
