from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from flwr.supercore.task_identity import TaskIdentity

from edge_sdk.update import ModelUpdate
from federated import messages
from federated.metered_grid import MeteredGrid
from federated.run_log.records import Traffic
from federated.server_app import collect
from tests.unit.federated.test_server_app import DIGEST, GOOD, NODES, FakeGrid, a_task, settings

if TYPE_CHECKING:
    from flwr.app import RecordDict


@pytest.fixture(autouse=True)
def flower_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    monkeypatch.setattr("federated.server_app._POLL_S", 0.001)


def size_of(content: RecordDict) -> int:
    return sum(record.count_bytes() for record in content.values())


def test_what_crosses_is_counted_by_round_and_device() -> None:
    inner = FakeGrid(lambda msg: GOOD if msg.metadata.dst_node_id != 22 else None)
    grid = MeteredGrid(inner)  # type: ignore[arg-type]
    replies = collect(grid, a_task(), NODES, settings())
    assert len(replies) == 2
    sent = size_of(next(iter(inner.sent.values())).content)
    want = Traffic(
        bytes_down=3 * sent, bytes_up=2 * size_of(GOOD), devices_down=3, devices_up=2
    )  # fmt: skip
    assert grid.take() == want
    assert grid.take() == Traffic(bytes_down=0, bytes_up=0, devices_down=0, devices_up=0)


def test_a_larger_update_is_more_bytes() -> None:
    delta = {"w": np.ones(1002, np.float32)}
    large = messages.encode_update(ModelUpdate(DIGEST, delta), 0)
    assert size_of(large) - size_of(GOOD) == pytest.approx(4000, abs=64)


def test_what_is_not_sent_is_not_counted() -> None:
    inner = FakeGrid(lambda _: GOOD)
    inner.unsendable = set(NODES.values())
    grid = MeteredGrid(inner)  # type: ignore[arg-type]
    collect(grid, a_task(), NODES, settings())
    assert grid.take().bytes_down == 0
