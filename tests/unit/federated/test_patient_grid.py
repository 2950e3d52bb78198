from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from federated.patient_grid import PatientGrid

if TYPE_CHECKING:
    from collections.abc import Iterable


class SlowGrid:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.back = threading.Event()
        self.back.set()
        self.asked: list[tuple[str, ...]] = []

    def pull_messages(self, ids: Iterable[str]) -> list[str]:
        self.asked.append(tuple(ids))
        assert self.back.wait(10)
        if self.asked[-1] == ("bad",):
            msg = "undecodable"
            raise ValueError(msg)
        return [f"reply to {one}" for one in self.asked[-1]]

    def get_node_ids(self) -> list[int]:
        assert self.back.wait(10)
        return [1, 2]

    def push_messages(self, messages: Iterable[str]) -> list[str]:
        return list(messages)


@pytest.fixture
def slow() -> SlowGrid:
    return SlowGrid()


def test_answers_pass_through(slow: SlowGrid) -> None:
    grid = PatientGrid(slow, 5)  # type: ignore[arg-type]
    assert grid.pull_messages(iter(["a", "b"])) == ["reply to a", "reply to b"]
    assert list(grid.get_node_ids()) == [1, 2]
    assert list(grid.push_messages(["m"])) == ["m"]  # type: ignore[list-item]


def test_an_error_is_raised_where_it_was_asked_for(slow: SlowGrid) -> None:
    grid = PatientGrid(slow, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="undecodable"):
        grid.pull_messages(["bad"])
    assert grid.pull_messages(["a"]) == ["reply to a"]


def test_an_outage_takes_no_longer_than_patience_and_loses_no_reply(slow: SlowGrid) -> None:
    grid = PatientGrid(slow, 0.05)  # type: ignore[arg-type]
    slow.back.clear()
    started = time.monotonic()
    for _ in range(20):  # a loop that polls for two replies, and for nodes
        assert grid.pull_messages(["a"]) == []
        assert grid.pull_messages(["b"]) == []
        assert list(grid.get_node_ids()) == []
    assert time.monotonic() - started < 2
    assert slow.asked == [("a",)]  # asked once: a second call would wait as well
    slow.back.set()
    pending = ["b", "a"]
    while pending:
        assert time.monotonic() - started < 10
        for one in list(pending):
            for reply in grid.pull_messages([one]):
                assert str(reply) == f"reply to {one}"
                pending.remove(one)
    assert sorted(slow.asked) == [("a",), ("b",)]
