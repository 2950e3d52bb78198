"""How often what died is started again before it is given up."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from federated.errors import DeploymentError

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_PAUSE_S = 30.0


class Restarts:
    """Allows a number of restarts within a time, at growing distances.

    Args:
        most: Restarts within the window.
        window_s: Seconds.
        clock: Seconds, from any start.
        sleep: Waits, seconds.
    """

    def __init__(
        self,
        most: int,
        window_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._most, self._window_s = most, window_s
        self._clock, self._sleep = clock, sleep
        self._times: deque[float] = deque()

    def pause(self, why: str) -> None:
        """Wait before one more restart: not at all before the first of a window.

        Raises:
            DeploymentError: There were too many; the message says `why` this one is needed.
        """
        now = self._clock()
        while self._times and now - self._times[0] > self._window_s:
            self._times.popleft()
        if len(self._times) >= self._most:
            msg = f"given up after {self._most} restarts in {self._window_s:g} s: {why}"
            raise DeploymentError(msg)
        if self._times:
            self._sleep(min(2.0 ** (len(self._times) - 1), _LONGEST_PAUSE_S))
        self._times.append(now)
