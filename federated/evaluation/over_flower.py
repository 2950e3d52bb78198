"""Judging over Flower's Grid: the answers that are there by the deadline."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from flwr.app import Message, MessageType, RecordDict

from edge_sdk.errors import BadUpdateError
from federated.evaluation.records import decode_judgement, encode_evaluation
from federated.evaluation.run import Answer
from federated.messages import Instruction
from federated.rounds.records import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeAlias

    from federated.evaluation.run import EvaluationTask

    Push: TypeAlias = Callable[[Mapping[int, Message]], dict[str, int]]
    Pull: TypeAlias = Callable[[dict[str, int]], Iterator[tuple[int, Message | None]]]

CRASHED = "crashed"
GROUP = "evaluation"
_NO_BOUND = 1.0
"""A judgement has no clipping norm; the instruction's own reader wants one."""
_TTL_SLACK_S = 60.0
_log = logging.getLogger(__name__)


def judge_over_flower(
    task: EvaluationTask,
    nodes: Mapping[str, int],
    push: Push,
    pull: Pull,
    *,
    server_round: int,
    deadline_s: float,
    poll_s: float,
) -> list[Answer]:
    """Ask a cohort, and gather its answers until all are there or time is up.

    Args:
        task: What is asked.
        nodes: Node of each client.
        push: Sends messages by node; gives message id to node.
        pull: Takes the replies that are there out of what is pending.
        server_round: Rounds before the candidate, for the devices' logs.
        deadline_s: How long to wait, seconds.
        poll_s: Between two looks, seconds.
    """
    content = encode_evaluation(
        Instruction(
            server_round=server_round,
            bundle_digest=task.bundle_digest,
            clipping_norm=_NO_BOUND,
            steps=task.steps,
            shared=dict(task.candidate),
        ),
        task.folds,
    )
    clients = {nodes[client]: client for client in task.cohort}
    ttl = deadline_s + _TTL_SLACK_S
    pending = push(
        {n: Message(content, n, MessageType.EVALUATE, ttl=ttl, group_id=GROUP) for n in clients}
    )
    deadline = time.monotonic() + deadline_s
    answers: list[Answer] = []
    while pending:
        answers += [_read(clients[node], msg) for node, msg in pull(pending)]
        if not pending or time.monotonic() >= deadline:
            break
        time.sleep(poll_s)
    return answers


def _read(client_id: str, msg: Message | None) -> Answer:
    """Turn one Flower message into an answer; a bad one is an answer too."""
    if msg is not None and msg.has_error():
        return Answer(client_id=client_id, failure=CRASHED)
    content = msg.content if msg is not None and msg.has_content() else RecordDict()
    try:
        found = decode_judgement(content)
    except BadUpdateError as error:
        _log.warning("a judgement is refused: %s", error)
        return Answer(client_id=client_id, failure=Refusal.MALFORMED)
    if isinstance(found, str):
        return Answer(client_id=client_id, failure=found)
    return Answer(client_id=client_id, judgement=found)
