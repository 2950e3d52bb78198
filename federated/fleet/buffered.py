"""Asynchronous rounds: the server steps whenever its buffer of updates is full.

FedBuff (Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation", AISTATS 2022).
A number of devices is at work at a time; each starts from the newest tensors, and its update counts
1 / sqrt(1 + staleness), where staleness is the number of server steps since (section 5 there). A
scaled update is shorter than its bound, so that no bound on one user's influence changes.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.update import ModelUpdate
from federated.errors import NotEnoughClientsError
from federated.fleet.availability import HOUR_S
from federated.fleet.draws import Stream, uniform
from federated.fleet.driver import Candidates, VisitReport, report_of
from federated.fleet.timeline import Fate, Visits, visit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federated.fleet.config import FleetConfig
    from federated.fleet.devices import Devices
    from federated.fleet.driver import Work
    from federated.fleet.timeline import Load
    from federated.round_core import Reply, RoundTask
    from federated.rounds.records import Tensors

_POLL_S = 60.0
_NOBODY = Visits(np.empty(0, np.int64), np.empty(0, np.int64), *(np.empty(0) for _ in range(4)))


@dataclass(frozen=True, slots=True)
class _Flight:
    """One device at work: which, from which server step, its number, and how it ends."""

    device: int
    version: int
    event: int
    fate: int


class BufferedDriver:
    """Feeds the round core one full buffer a round; what is in it is what may be sampled.

    Args:
        devices: The fleet.
        config: Its settings.
        load: What a round asks of a device.
        work: Makes the updates.

    Attributes:
        candidates: The clients that the round core may sample: those whose updates are in the
            buffer.
        reports: One a round that has run.
    """

    def __init__(self, devices: Devices, config: FleetConfig, load: Load, work: Work) -> None:
        self.candidates = Candidates(self._fill)
        self._devices, self._config, self._load, self._work = devices, config, load, work
        self._now = config.availability.start_hour * HOUR_S
        self._opened = self._next_check_in = self._now
        self._version = 0
        self._too_stale = 0
        self._events = 0
        self._busy = np.zeros(len(devices.ids), bool)
        self._landing: list[tuple[float, int, _Flight]] = []
        self._versions: dict[int, Tensors] = {}
        self._buffer: list[_Flight] = []
        self._visits: list[Visits] = []
        self._available = 0
        self.reports: list[VisitReport] = []

    @property
    def cohort_size(self) -> int:
        """Clients that the round core is to sample: the whole buffer."""
        return self._config.round.replies

    def collect(self, task: RoundTask) -> list[Reply]:
        """Compute the buffer's updates, each from the tensors that its device had started from."""
        self._versions[self._version] = dict(task.shared)
        replies: list[Reply] = []
        for version in sorted({flight.version for flight in self._buffer}):
            flights = [flight for flight in self._buffer if flight.version == version]
            found = self._work(
                task,
                self._versions[version],
                np.array([flight.device for flight in flights]),
                np.array([flight.event for flight in flights]),
            )
            scale = 1.0 / math.sqrt(1 + self._version - version)
            replies += [_scaled(reply, scale) for reply in found]
        self._close_round()
        return replies

    def _fill(self) -> Sequence[str]:
        """Let time pass until the buffer is full, or the coordinator's patience ends."""
        give_up = self._now + self._config.round.patience_s
        while len(self._buffer) < self.cohort_size and self._now < give_up:
            if self._now >= self._next_check_in:
                self._launch()
                self._next_check_in = self._now + _POLL_S
            if self._landing and self._landing[0][0] <= self._next_check_in:
                self._land()
            else:
                self._now = self._next_check_in
        if not self._buffer:
            msg = (
                f"no update arrived within {self._config.round.patience_s:g} virtual seconds; "
                "raise round.patience_s, or let more devices be available"
            )
            raise NotEnoughClientsError(msg)
        return [self._devices.ids[flight.device] for flight in self._buffer]

    def _launch(self) -> None:
        """Give the newest tensors to devices that have checked in, up to `concurrency` at work."""
        until = self._devices.available_until(self._now)
        here = np.flatnonzero(until > -np.inf)
        self._available = len(here)
        free = here[~self._busy[here]]
        order = uniform(self._config.seed, Stream.CHECK_IN, free, self._events).argsort(
            kind="stable"
        )
        room = self._config.algorithm.concurrency - len(self._landing)
        chosen = free[order[: max(room, 0)]]
        if not len(chosen):
            return
        events = self._events + np.arange(len(chosen))
        self._events += len(chosen)
        now = np.full(len(chosen), self._now)
        visits = visit(self._devices, self._config, self._load, chosen, until[chosen], now, events)
        self._busy[chosen] = True
        self._devices.spend(chosen, visits.bytes_down + visits.bytes_up, visits.joules, self._now)
        self._visits.append(visits)
        for i, device in enumerate(chosen.tolist()):
            flight = _Flight(device, self._version, int(events[i]), int(visits.fate[i]))
            heapq.heappush(self._landing, (float(visits.finish[i]), flight.event, flight))

    def _land(self) -> None:
        """Take the next device that is done: its update into the buffer, if there is one."""
        self._now, _, flight = heapq.heappop(self._landing)
        if flight.fate != Fate.FINISHED:
            self._busy[flight.device] = False
        elif self._version - flight.version > self._config.algorithm.max_staleness:
            self._busy[flight.device] = False
            self._too_stale += 1
        else:  # busy until the buffer is used: a user counts once in it
            self._buffer.append(flight)

    def _close_round(self) -> None:
        staleness = [self._version - flight.version for flight in self._buffer]
        parts = [_NOBODY, *self._visits]
        launched = Visits(
            *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Visits))
        )
        self.reports.append(
            replace(
                report_of(launched, self._opened, self._now, self._available),
                finished=len(self._buffer),
                late=self._too_stale,
                staleness=float(np.mean(staleness)),
            )
        )
        for flight in self._buffer:
            self._busy[flight.device] = False
        self._buffer, self._visits, self._too_stale = [], [], 0
        self._version += 1
        self._opened = self._now
        needed = {flight.version for _, _, flight in self._landing}
        self._versions = {v: tensors for v, tensors in self._versions.items() if v in needed}


def _scaled(reply: Reply, scale: float) -> Reply:
    if reply.update is None:
        return reply
    factor = np.float32(scale)
    delta = {name: factor * value for name, value in reply.update.delta.items()}
    return replace(reply, update=ModelUpdate(reply.update.bundle_digest, delta))
