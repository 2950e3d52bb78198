"""One group of a masked round over Flower's Grid: its stages, their deadlines, what went wrong."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flwr.app import Message, MessageType, RecordDict

from edge_sdk.errors import BadUpdateError
from federated.secure.errors import SecureAggregationError
from federated.secure.messages import Kind
from federated.secure.stage_records import ACTION, Stage, decode_answer, encode_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeAlias

    from edge_sdk.errors import EdgeError
    from federated.secure.server import GroupServer, GroupSum
    from federated.secure.stage_records import Work

    Push: TypeAlias = Callable[[Mapping[int, Message]], dict[str, int]]
    Pull: TypeAlias = Callable[[dict[str, int]], Iterator[tuple[int, Message | None]]]

CRASHED = "crashed"  # the client's process failed, or its node went away; Flower says so

_TTL_SLACK_S = 60.0
_POLL_S = 0.2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GridLink:
    """How messages reach nodes and answers come back.

    Attributes:
        push: Sends messages by node; returns message id to node. What cannot be sent is left out.
        pull: Takes the answers that are there out of the pending ones; None for one that Flower
            cannot decode.
        poll_s: Pause between two looks, seconds.
    """

    push: Push
    pull: Pull
    poll_s: float = _POLL_S


def stage_message(content: RecordDict, node: int, server_round: int, deadline_s: float) -> Message:
    """A message to one node, which stays until well after the stage's deadline."""
    return Message(
        content,
        node,
        f"{MessageType.TRAIN}.{ACTION}",
        ttl=deadline_s + _TTL_SLACK_S,
        group_id=str(server_round),
    )


@dataclass(slots=True)
class Tally:
    """What happened in one round."""

    failed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    known: set[str] = field(default_factory=set)

    def fail(self, client: str, code: str) -> None:
        """A client reports an error."""
        self.failed[code] += 1
        self.known.add(client)

    def read(self, client: str, msg: Message | None) -> bytes | None:
        """A client's answer; None, and counted, where it is none."""
        if msg is not None and msg.has_error():
            self.fail(client, CRASHED)
            return None
        content = msg.content if msg is not None and msg.has_content() else RecordDict()
        try:
            answer = decode_answer(content)
        except BadUpdateError as error:
            self.refuse(client, error)
            return None
        if isinstance(answer, str):
            self.fail(client, answer)
            return None
        return answer

    def refuse(self, client: str, error: EdgeError) -> None:
        """What a client sent is not used."""
        _log.warning("a stage's answer is refused: %s", error)
        self.refused[error.code] += 1
        self.known.add(client)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is the same for all groups of a round."""

    work: Work
    instruction: RecordDict
    nodes: Mapping[str, int]


class OpenGroup:
    """One group on its way through the stages."""

    def __init__(
        self,
        server: GroupServer,
        asked: Asked,
        link: GridLink,
        tally: Tally,
        deadline_s: float,
    ) -> None:
        self._server, self._asked, self._link, self._tally = server, asked, link, tally
        self._deadline_s = deadline_s
        self._pending: dict[str, int] = {}
        self._clients: dict[int, str] = {}
        self._closes = 0.0
        self.total: GroupSum | None = None
        self.is_over = False

    @property
    def is_due(self) -> bool:
        """Whether the stage that is open can be closed."""
        return not self._pending or time.monotonic() >= self._closes

    def ask(self, inbox: Mapping[str, bytes]) -> None:
        """Open the stage: send to each member what is for it."""
        kind = self._server.stage
        if kind is None:
            return
        work = self._asked.work if kind is Kind.VECTOR else None
        outgoing: dict[int, Message] = {}
        for client, payload in inbox.items():
            stage = Stage(
                kind=kind,
                payload=payload,
                bundle_digest=self._asked.work.instruction.bundle_digest,
                work=work,
            )
            content = encode_stage(stage, self._asked.instruction)
            node = self._asked.nodes[client]
            server_round = self._asked.work.instruction.server_round
            outgoing[node] = stage_message(content, node, server_round, self._deadline_s)
        self._clients = {self._asked.nodes[client]: client for client in inbox}
        self._closes = time.monotonic() + self._deadline_s
        self._pending = self._link.push(outgoing)

    def listen(self) -> None:
        """Take the answers that are there."""
        for node, msg in self._link.pull(self._pending):
            client = self._clients[node]
            answer = self._tally.read(client, msg)
            if answer is None:
                continue
            try:
                self._server.receive(client, answer)
            except SecureAggregationError as error:
                self._tally.refuse(client, error)

    def advance(self) -> None:
        """Close the stage, and open the next one."""
        try:
            inbox = self._server.advance()
        except SecureAggregationError as error:
            _log.warning("a group gives its sum up: %s", error)
            self._tally.given_up[error.code] += 1
            self.is_over = True
            return
        if self._server.stage is None:
            self.total, self.is_over = self._server.result, True
            return
        self.ask(inbox)
