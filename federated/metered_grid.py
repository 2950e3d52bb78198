"""A Flower Grid that counts what crosses it: the bytes of records, without Flower's own framing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flwr.app import ConfigRecord
from flwr.serverapp import Grid

from federated.run_log.records import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.supercore.run import Run

_NUMBER_BYTES = 8


class MeteredGrid(Grid):
    """Passes everything on to `grid`; `take` says what crossed since it was last asked."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._down: dict[int, int] = {}
        self._up: dict[int, int] = {}

    def take(self) -> Traffic:
        """Traffic since the last call: of a round, where it is called after each."""
        down, up = self._down, self._up
        self._down, self._up = {}, {}
        return Traffic(
            bytes_down=sum(down.values()),
            bytes_up=sum(up.values()),
            devices_down=len(down),
            devices_up=len(up),
        )

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As `grid`; what it refuses to send is not counted."""
        batch = list(messages)
        ids = list(self._grid.push_messages(batch))
        for sent, msg in zip(ids, batch, strict=False):
            if sent:
                _add(self._down, msg.metadata.dst_node_id, msg)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As `grid`."""
        replies = list(self._grid.pull_messages(message_ids))
        for msg in replies:
            _add(self._up, msg.metadata.src_node_id, msg)
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """As `grid`; what never came back is counted as sent."""
        batch = list(messages)
        for msg in batch:
            _add(self._down, msg.metadata.dst_node_id, msg)
        replies = list(self._grid.send_and_receive(batch, timeout=timeout))
        for msg in replies:
            _add(self._up, msg.metadata.src_node_id, msg)
        return replies

    def set_run(self, run: Run) -> None:
        """As `grid`."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """As `grid`."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """As `grid`."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """As `grid`."""
        return self._grid.get_node_ids()


def _add(counts: dict[int, int], node: int, msg: Message) -> None:
    if msg.has_content():
        counts[node] = counts.get(node, 0) + sum(map(_bytes_of, msg.content.values()))


def _bytes_of(record: ArrayRecord | ConfigRecord | MetricRecord) -> int:
    """Bytes of names and values; Flower's own count raises on an empty value of a ConfigRecord."""
    if not isinstance(record, ConfigRecord):
        return record.count_bytes()
    return sum(len(name.encode()) + _bytes_of_value(value) for name, value in record.items())


def _bytes_of_value(value: object) -> int:
    if isinstance(value, list):
        return sum(map(_bytes_of_value, value))
    if isinstance(value, str):
        return len(value.encode())
    return len(value) if isinstance(value, bytes) else _NUMBER_BYTES
