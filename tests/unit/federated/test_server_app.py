from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.supercore.inflatable.inflatable_utils import (
    inflate_object_from_contents,
    validate_object_content,
)
from flwr.supercore.task_identity import TaskIdentity

from edge_sdk.update import ModelUpdate
from federated import messages
from federated.errors import DeploymentError, NotEnoughClientsError
from federated.registered_nodes import encode_nodes
from federated.round_core import Reply, RoundTask
from federated.server_app import collect, wait_for_clients
from federated.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

DIGEST = "d" * 64
NODES = {"ann": 11, "bob": 22, "cat": 33}
DELTA = {"w": np.ones(2, np.float32)}
GOOD = messages.encode_update(ModelUpdate(DIGEST, DELTA), 0)

Answer = RecordDict | Error | None
UNDECODABLE = RecordDict()


class FakeGrid:
    """Answers each message at the `slow`-th poll with what `answer` says; None never comes."""

    def __init__(self, answer: Callable[[Message], Answer], nodes: Iterable[int] = ()) -> None:
        self.answer = answer
        self.nodes = list(nodes)
        self.sent: dict[str, Message] = {}
        self.slow: dict[int, int] = {}
        self.unsendable: set[int] = set()
        self.decoding_error: Exception = ValueError()

    def get_node_ids(self) -> list[int]:
        return self.nodes

    def push_messages(self, batch: Iterable[Message]) -> list[str | None]:
        ids: list[str | None] = []
        for msg in batch:
            node = msg.metadata.dst_node_id
            if node in self.unsendable:
                ids.append(None)
                continue
            ids.append(f"m{len(self.sent)}")
            msg.metadata.__dict__["_message_id"] = ids[-1]
            self.sent[str(ids[-1])] = msg
        return ids

    def pull_messages(self, ids: Iterable[str]) -> list[Message]:
        replies = []
        for one in ids:
            msg = self.sent[one]
            node = msg.metadata.dst_node_id
            self.slow[node] = self.slow.get(node, 0) - 1
            if self.slow[node] >= 0:
                continue
            answer = self.answer(msg)
            if answer is UNDECODABLE:
                raise self.decoding_error
            if isinstance(answer, Error) or answer is not None:
                replies.append(Message(answer, reply_to=msg))
        return replies


@pytest.fixture(autouse=True)
def flower_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Flower sets up in a ServerApp's process, and no waiting."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    monkeypatch.setattr("federated.server_app._POLL_S", 0.001)


def settings(**changes: float) -> ServerSettings:
    fields = {"join_deadline_s": 0.2, "round_deadline_s": 0.2, "min_clients": 3, **changes}
    return ServerSettings(bundle="b", out="o", report="r", **fields)  # type: ignore[arg-type]


def a_task() -> RoundTask:
    return RoundTask(
        server_round=0,
        cohort=tuple(sorted(NODES)),
        shared={"w": np.zeros(2, np.float32)},
        bundle_digest=DIGEST,
        clipping_norm=1.0,
        steps=None,
    )


def gather(grid: FakeGrid, **changes: float) -> dict[str, Reply]:
    replies = collect(grid, a_task(), NODES, settings(**changes))  # type: ignore[arg-type]
    assert len({reply.client_id for reply in replies}) == len(replies)
    return {reply.client_id: reply for reply in replies}


def test_every_reply_of_the_cohort_is_gathered_under_its_own_client() -> None:
    grid = FakeGrid(lambda _: GOOD)
    grid.slow = {22: 3}
    replies = gather(grid, round_deadline_s=30)
    assert sorted(replies) == sorted(NODES)
    assert all(reply.update is not None for reply in replies.values())
    assert {msg.metadata.dst_node_id for msg in grid.sent.values()} == set(NODES.values())


def test_wrong_replies_are_told_apart_and_none_is_fatal() -> None:
    answers: dict[int, Answer] = {
        11: Error(code=2, reason="<class 'ValueError'>:<'secret'>"),
        22: RecordDict({"surprise": ConfigRecord({"x": 1})}),
        33: messages.encode_failure("empty_support"),
    }
    replies = gather(FakeGrid(lambda msg: answers[msg.metadata.dst_node_id]))
    assert {c: (r.update, r.failure) for c, r in replies.items()} == {
        "ann": (None, "crashed"),
        "bob": (None, "malformed"),
        "cat": (None, "empty_support"),
    }


def test_a_round_closes_at_its_deadline() -> None:
    replies = gather(FakeGrid(lambda msg: GOOD if msg.metadata.dst_node_id != 22 else None))
    assert sorted(replies) == ["ann", "cat"]


def test_a_round_closes_at_enough_updates_and_failures_do_not_count() -> None:
    grid = FakeGrid(
        lambda msg: messages.encode_failure("crash") if msg.metadata.dst_node_id == 11 else GOOD
    )
    grid.slow = {22: 2, 33: 10**9}
    replies = gather(grid, min_replies=1, round_deadline_s=30)
    assert sorted(replies) == ["ann", "bob"]


@pytest.mark.parametrize(
    "wrong",
    [
        ModelUpdate(DIGEST, {"w": np.array([1, np.nan], np.float32)}),
        ModelUpdate(DIGEST, {"w": np.ones(3, np.float32)}),
        ModelUpdate("e" * 64, DELTA),
    ],
    ids=["not-finite", "misshapen", "other-bundle"],
)
def test_an_update_that_will_be_refused_closes_no_round(wrong: ModelUpdate) -> None:
    bad = messages.encode_update(wrong, 0)
    grid = FakeGrid(lambda msg: bad if msg.metadata.dst_node_id == 11 else GOOD)
    grid.slow = {22: 2, 33: 10**9}
    replies = gather(grid, min_replies=1, round_deadline_s=30)
    assert sorted(replies) == ["ann", "bob"]
    grid = FakeGrid(lambda _: messages.encode_update(ModelUpdate(DIGEST, DELTA), 7))  # too old
    assert sorted(gather(grid, min_replies=1)) == sorted(NODES)


def flower_error(object_type: str, body: str) -> Exception:
    """What Flower raises on an object that its store took but that does not hold what it says."""
    content = f"{object_type}  {len(body)}\0{body}".encode()
    validate_object_content(content)
    try:
        inflate_object_from_contents("x", {"x": content})
    except Exception as error:  # noqa: BLE001 - which one is the question
        return error
    pytest.fail("Flower reads it after all")


@pytest.mark.parametrize(
    ("object_type", "body"),
    [
        ("ConfigRecord", "?"),
        ("ArrayRecord", "{"),
        ("RecordDict", "[" * 100_000),
        ("Array", '{"arraychunk_ids": [7]}'),
        ("Message", "?"),
    ],
)
def test_a_reply_that_flower_cannot_decode_takes_no_other_with_it(
    object_type: str, body: str
) -> None:
    grid = FakeGrid(lambda msg: UNDECODABLE if msg.metadata.dst_node_id == 11 else GOOD)
    grid.decoding_error = flower_error(object_type, body)
    replies = gather(grid, round_deadline_s=30)
    assert {client: reply.failure for client, reply in replies.items()} == {
        "ann": "malformed",
        "bob": None,
        "cat": None,
    }


def test_what_cannot_be_sent_is_missing() -> None:
    grid = FakeGrid(lambda _: GOOD)
    grid.unsendable = {33}
    assert sorted(gather(grid, round_deadline_s=30)) == ["ann", "bob"]


def names(table: dict[int, str]) -> Callable[[Message], Answer]:
    return lambda msg: messages.encode_client(table[msg.metadata.dst_node_id])


def test_the_server_learns_who_is_behind_each_node() -> None:
    grid = FakeGrid(names({v: k for k, v in NODES.items()}), NODES.values())
    assert wait_for_clients(grid, settings()) == NODES  # type: ignore[arg-type]


def test_a_device_that_lost_the_question_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("federated.server_app._ASK_AGAIN_S", 0.01)
    names_of = {node: client for client, node in NODES.items()}

    def answer(msg: Message) -> Answer:
        node = msg.metadata.dst_node_id
        first = next(m for m in grid.sent.values() if m.metadata.dst_node_id == node)
        if node == 11 and msg is first:
            return None  # it was killed as it had this one
        if node == 22 and msg is first:
            return Error(code=2, reason="its ClientApp crashed")
        return messages.encode_client(names_of[node])

    grid = FakeGrid(answer, NODES.values())
    assert wait_for_clients(grid, settings(join_deadline_s=30)) == NODES  # type: ignore[arg-type]
    asked = [msg.metadata.dst_node_id for msg in grid.sent.values()]
    assert asked.count(33) == 1, "who has answered is left alone"


def test_an_id_that_two_nodes_claim_takes_no_part() -> None:
    grid = FakeGrid(names({1: "ann", 2: "bob", 3: "ann", 4: "cat"}), [1, 2, 3, 4])
    assert wait_for_clients(grid, settings(min_clients=2)) == {"bob": 2, "cat": 4}  # type: ignore[arg-type]


def test_too_few_clients_is_an_error_that_says_how_many() -> None:
    answers: dict[int, Answer] = {1: messages.encode_client("ann"), 2: RecordDict(), 3: None}
    grid = FakeGrid(lambda msg: answers[msg.metadata.dst_node_id], answers)
    with pytest.raises(NotEnoughClientsError, match=r"1 of 3 clients .*3 nodes"):
        wait_for_clients(grid, settings())  # type: ignore[arg-type]


def test_a_node_speaks_for_the_client_it_was_registered_for_only(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes.json"
    nodes.write_bytes(encode_nodes({1: "ann", 2: "bob", 3: "cat"}))
    grid = FakeGrid(names({1: "ann", 2: "cat", 3: "cat", 4: "bob"}), [1, 2, 3, 4])
    known = settings(min_clients=2, nodes=str(nodes))
    assert wait_for_clients(grid, known) == {"ann": 1, "cat": 3}  # type: ignore[arg-type]


def test_without_the_file_of_registered_nodes_nobody_is_believed(tmp_path: Path) -> None:
    grid = FakeGrid(names({1: "ann"}), [1])
    with pytest.raises(DeploymentError, match="federated serve"):
        wait_for_clients(grid, settings(nodes=str(tmp_path / "nodes.json")))  # type: ignore[arg-type]
