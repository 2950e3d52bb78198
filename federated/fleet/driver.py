"""Synchronous rounds on a virtual clock: who checks in, who is asked, and whose update is in time.

The round core samples the cohort and takes the server's step (`federated.round_core.run_rounds`);
here is only what a network and a fleet do in between. Devices whose update would not count do not
train, so a simulation pays for no work that nobody sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from federated.errors import NotEnoughClientsError
from federated.fleet.availability import HOUR_S
from federated.fleet.timeline import Fate, Load, Visits, close, visit

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from federated.fleet.config import FleetConfig
    from federated.fleet.devices import Devices
    from federated.round_core import Reply, RoundTask
    from federated.rounds.records import Tensors

    Int = NDArray[np.int64]
    Work: TypeAlias = Callable[[RoundTask, Tensors, Int, Int], Iterable[Reply]]
    """Updates of devices: the round, the tensors they start from, the devices, and the event of
    each."""

_POLL_S = 300.0

LOSSES = ("lost_before_start", "lost_training", "lost_upload", "late")
"""Fields of `VisitReport`: where devices that were asked got lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VisitReport:
    """What the network and the devices did in one round.

    Attributes:
        opened_s: When the round began, in virtual seconds.
        closed_s: When it closed.
        available: Devices that had checked in.
        asked: Devices asked.
        reached: Those of them that the round's tensors were sent to; in private rounds devices are
            asked whether they are there or not.
        finished: Updates in time.
        lost_before_start: Devices lost between being asked and their first step.
        lost_training: Lost while they trained.
        lost_upload: Lost while they sent.
        late: Updates after the close.
        bytes_down: Sent to devices.
        bytes_up: Sent by devices, what came late included.
        joules: Energy that devices spent.
        staleness: Mean number of server steps that an update was behind.
    """

    opened_s: float
    closed_s: float
    available: int
    asked: int
    reached: int
    finished: int
    lost_before_start: int
    lost_training: int
    lost_upload: int
    late: int
    bytes_down: int
    bytes_up: int
    joules: float
    staleness: float = 0.0


class Candidates(Sequence[str]):
    """The clients that may be sampled for a round.

    The round core reads them anew for each round, as often as it likes; the driver is asked when
    that is first read, and again only after `forget`.
    """

    def __init__(self, current: Callable[[], Sequence[str]]) -> None:
        self._current = current
        self._known: Sequence[str] | None = None

    def forget(self) -> None:
        """The round is over."""
        self._known = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())

    def __len__(self) -> int:
        return len(self._ids())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._ids()[index]

    def _ids(self) -> Sequence[str]:
        if self._known is None:
            self._known = self._current()
        return self._known


class SynchronousDriver:
    """Rounds that close at enough replies or at their deadline.

    Args:
        devices: The fleet.
        config: Its settings.
        load: What a round asks of a device.
        work: Makes the updates of the devices that are in time.
        everyone: Any device may be sampled, whether it has checked in or not, and one that has not
            is lost; no reply closes a round. So private rounds need it: their sampling rate is over
            a population that does not change, and one device's reply must not displace another's.

    Attributes:
        candidates: The clients that the round core may sample.
        reports: One a round that has run.
    """

    def __init__(
        self,
        devices: Devices,
        config: FleetConfig,
        load: Load,
        work: Work,
        *,
        everyone: bool = False,
    ) -> None:
        self._everyone = everyone
        self.candidates = Candidates(self._check_in)
        self._devices, self._config, self._load, self._work = devices, config, load, work
        self._now = config.availability.start_hour * HOUR_S
        self._until: NDArray[np.float64] = np.empty(0)
        self.reports: list[VisitReport] = []

    @property
    def cohort_size(self) -> int:
        """Clients that the round core is to sample."""
        rules = self._config.round
        return rules.replies if self._everyone else rules.cohort_size

    def collect(self, task: RoundTask) -> Iterable[Reply]:
        """Let a cohort live through its round; returns the replies that are in time."""
        chosen = self._devices.numbers(task.cohort)
        opened = self._now
        event = np.full(len(chosen), task.server_round)
        now = np.full(len(chosen), opened)
        visits = visit(
            self._devices, self._config, self._load, chosen, self._until[chosen], now, event
        )
        rules = self._config.round
        wanted = len(chosen) if self._everyone else rules.replies
        visits, self._now = close(visits, replies=wanted, deadline=opened + rules.deadline_s)
        self._devices.spend(chosen, visits.bytes_down + visits.bytes_up, visits.joules, opened)
        available = int(np.count_nonzero(self._until > -np.inf))
        self.reports.append(report_of(visits, opened, self._now, available))
        in_time = np.flatnonzero(visits.fate == Fate.FINISHED)
        return self._work(task, task.shared, chosen[in_time], event[in_time])

    def _check_in(self) -> Sequence[str]:
        """Wait until a whole cohort has checked in, or the coordinator's patience ends."""
        if self.reports:
            self._now = max(self._now, self.reports[-1].opened_s + self._config.round.interval_s)
        give_up = self._now + self._config.round.patience_s
        while True:
            self._until = self._devices.available_until(self._now)
            if self._everyone:
                return self._devices.ids
            here = np.flatnonzero(self._until > -np.inf)
            if len(here) >= self.cohort_size or (self._now >= give_up and len(here)):
                ids = self._devices.ids
                return [ids[i] for i in here]
            if self._now >= give_up:
                msg = (
                    f"no device checked in within {self._config.round.patience_s:g} virtual "
                    "seconds; raise round.patience_s, or let more devices be available"
                )
                raise NotEnoughClientsError(msg)
            self._now += _POLL_S


def report_of(
    visits: Visits, opened: float, closed: float, available: int, staleness: float = 0.0
) -> VisitReport:
    """Sum up the visits of one round."""
    return VisitReport(
        opened_s=opened,
        closed_s=closed,
        available=available,
        asked=len(visits.devices),
        reached=int(np.count_nonzero(visits.bytes_down)),
        finished=visits.count(Fate.FINISHED),
        lost_before_start=visits.count(Fate.LOST_BEFORE_START),
        lost_training=visits.count(Fate.LOST_TRAINING),
        lost_upload=visits.count(Fate.LOST_UPLOAD),
        late=visits.count(Fate.LATE),
        bytes_down=int(visits.bytes_down.sum()),
        bytes_up=int(visits.bytes_up.sum()),
        joules=float(visits.joules.sum()),
        staleness=staleness,
    )
