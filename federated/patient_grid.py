"""A Grid whose questions are answered in bounded time, also while the SuperLink is away.

Flower's own Grid tries again for ever: a pull in the midst of an outage returns when the SuperLink
is back, long after the round's deadline. Here a question that is not answered in time counts as "no
news"; the call goes on in a thread of its own, and its answer is given to who asks the same again,
so that no reply is lost. Sending waits as long as it takes: without a SuperLink there is nothing
else to do.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

from flwr.serverapp import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flwr.app import Message
    from flwr.supercore.run import Run

PATIENCE_S = 5.0


class PatientGrid(Grid):
    """Wraps a Grid; to be used by one thread.

    Args:
        grid: The Grid that does the work.
        patience_s: How long a question may take, seconds.
    """

    def __init__(self, grid: Grid, patience_s: float = PATIENCE_S) -> None:
        self._grid = grid
        self._patience_s = patience_s
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._open: dict[object, _Call] = {}
        threading.Thread(target=self._work, name="grid-calls", daemon=True).start()

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Make a message."""
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        """Ids of the nodes that are online; none where the SuperLink does not answer in time."""
        return self._ask("nodes", lambda: list(self._grid.get_node_ids()))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; waits for the SuperLink as long as it takes."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that are there; none where the SuperLink does not answer in time."""
        wanted = tuple(message_ids)
        return self._ask(wanted, lambda: list(self._grid.pull_messages(wanted)))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for the replies."""
        return self._grid.send_and_receive(messages, timeout=timeout)

    def _ask(self, question: object, work: Callable[[], list[Any]]) -> list[Any]:
        call = self._open.get(question)
        if call is None:
            if any(not other.done.is_set() for other in self._open.values()):
                return []  # one waits for the SuperLink already, and would keep this one waiting
            call = self._open[question] = _Call(work)
            self._calls.put(call)
            call.done.wait(self._patience_s)
        if not call.done.is_set():
            return []
        del self._open[question]
        return call.result()

    def _work(self) -> None:
        while True:
            self._calls.get().run()


class _Call:
    """A call, and what came of it once it is done."""

    def __init__(self, call: Callable[[], list[Any]]) -> None:
        self.done = threading.Event()
        self._call = call
        self._answer: list[Any] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._answer = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again where the question was asked
            self._error = error
        finally:
            self.done.set()

    def result(self) -> list[Any]:
        if self._error is not None:
            raise self._error
        return self._answer
