"""Messages to nodes and their answers over Flower's Grid, whatever a hostile node answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flwr.app import RecordDict
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flwr.app import Message
    from flwr.serverapp import Grid

CRASHED = "crashed"  # the client's process failed, or its node went away; Flower says so
TTL_SLACK_S = 60.0
"""Flower answers for a node whose message has expired; that must not come before our own deadline,
or a device that is only late would count as crashed."""

# what Flower raises on a reply whose bytes are not what they say
_UNDECODABLE = (
    ArithmeticError,
    AttributeError,
    DecodeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def push(grid: Grid, outgoing: Mapping[int, Message]) -> dict[str, int]:
    """Send messages by node; returns message id to node. What cannot be sent is left out."""
    if not outgoing:
        return {}
    ids = grid.push_messages(list(outgoing.values()))
    return {sent: node for sent, node in zip(ids, outgoing, strict=False) if sent}


def pull(grid: Grid, pending: dict[str, int]) -> Iterator[tuple[int, Message | None]]:
    """Take the replies that are there out of `pending`; None for one Flower cannot decode.

    Each is asked for by itself: Flower confirms a whole batch before it decodes it, so one hostile
    reply in a batch would take honest ones with it.
    """
    for sent in list(pending):
        try:
            replies: list[Message | None] = list(grid.pull_messages([sent]))
        except _UNDECODABLE:
            replies = [None]
        for reply in replies:
            yield pending.pop(sent), reply
            break


def content_of(msg: Message | None) -> RecordDict:
    """The records of a message; none of one that carries an error or cannot be decoded."""
    return msg.content if msg is not None and msg.has_content() else RecordDict()
