"""What happens to the devices that a round asks: how long each takes, and where it gets lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from federated.fleet.draws import Stream, normal, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.fleet.config import FleetConfig
    from federated.fleet.devices import Devices

    Int = NDArray[np.int64]
    Float = NDArray[np.float64]

_BITS_PER_MB = 1e6
_LINK_SPREAD = 0.6  # of the logarithm of a link's rate: the same place is not always as good


class Fate(IntEnum):
    """How a device's part in a round ended."""

    FINISHED = 0
    LOST_BEFORE_START = 1
    LOST_TRAINING = 2
    LOST_UPLOAD = 3
    LATE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Visits:
    """The devices of one round; all arrays are `[n]`, in the order of `devices`.

    Attributes:
        devices: Which.
        fate: `Fate` of each.
        finish: When its update is at the server, or would have been, in virtual seconds.
        joules: Energy it spent.
        bytes_down: Sent to it; none to a device that was not there when it was asked.
        bytes_up: Sent by it.
    """

    devices: Int
    fate: Int
    finish: Float
    joules: Float
    bytes_down: Float
    bytes_up: Float

    def count(self, fate: Fate) -> int:
        """Devices that ended so."""
        return int(np.count_nonzero(self.fate == fate))


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What a round asks of a device.

    Attributes:
        steps: Inner steps.
        bytes_down: Bytes of the round's tensors.
        bytes_up: Bytes of an update.
    """

    steps: int
    bytes_down: int
    bytes_up: int


def visit(
    devices: Devices,
    config: FleetConfig,
    load: Load,
    chosen: Int,
    until: Float,
    now: Float,
    event: Int,
) -> Visits:
    """Let `chosen` devices live through a round that starts `now`.

    Args:
        devices: The fleet.
        config: Its settings.
        load: What is asked.
        chosen: Numbers of the devices, int64 `[n]`.
        until: Until when each is available, `[n]`.
        now: When each is asked, `[n]`.
        event: A number that no other visit of the same device has, such as the round's, `[n]`.
    """
    seed, drop, tiers = config.seed, config.dropout, config.tier

    def of_tier(name: str) -> Float:
        return np.array([getattr(tier, name) for tier in tiers])[devices.tier[chosen]]

    pace = np.exp(of_tier("spread") * normal(seed, Stream.DURATION, chosen, event))
    pace = pace * devices.slowness[chosen]
    link = np.exp(_LINK_SPREAD * normal(seed, Stream.LINK, chosen, event))
    down_s = load.bytes_down * 8 / _BITS_PER_MB / (of_tier("downlink_mbps") * link)
    up_s = load.bytes_up * 8 / _BITS_PER_MB / (of_tier("uplink_mbps") * link)
    start_s = of_tier("start_s") * pace
    train_s = of_tier("step_ms") / 1e3 * load.steps * devices.examples[chosen] * pace

    begun = now + start_s + down_s
    trained = begun + train_s
    finish = trained + up_s

    def lost(stream: Stream, chance: float, end: Float) -> NDArray[np.bool_]:
        return (uniform(seed, stream, chosen, event) < chance) | (end > until)

    fate = np.select(
        [
            lost(Stream.DROP_BEFORE, drop.before_start, begun),
            lost(Stream.DROP_TRAINING, drop.training, trained),
            lost(Stream.DROP_UPLOAD, drop.upload, finish),
        ],
        [int(Fate.LOST_BEFORE_START), int(Fate.LOST_TRAINING), int(Fate.LOST_UPLOAD)],
        int(Fate.FINISHED),
    ).astype(np.int64)
    trains = fate != Fate.LOST_BEFORE_START
    sends = trains & (fate != Fate.LOST_TRAINING)
    seconds = np.where(trains, train_s, 0.0) + np.where(sends, up_s, 0.0)
    return Visits(
        devices=chosen,
        fate=fate,
        finish=finish,
        joules=seconds * of_tier("watts"),
        bytes_down=np.where(until > now, float(load.bytes_down), 0.0),
        bytes_up=np.where(fate == Fate.FINISHED, float(load.bytes_up), 0.0),
    )


def close(visits: Visits, *, replies: int, deadline: float) -> tuple[Visits, float]:
    """Close a round at its `replies`-th update, or at `deadline`; so of a round that asked nobody.

    Returns:
        The visits, with those that came after the close `LATE`, and when the round closed.
    """
    finished = visits.fate == Fate.FINISHED
    order = np.lexsort((visits.devices, visits.finish))
    in_time = order[finished[order] & (visits.finish[order] <= deadline)][:replies]
    enough = 0 < len(in_time) == replies
    closed = float(visits.finish[in_time[-1]]) if enough else deadline
    fate = visits.fate.copy()
    late = finished.copy()
    late[in_time] = False
    fate[late] = Fate.LATE
    return replace(visits, fate=fate), closed
