"""All that a simulated fleet can be told: one frozen dataclass a table of the config file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edge_sdk.errors import InvalidOptionError


def _counts(options: object, **least: int) -> None:
    for name, bound in least.items():
        value = getattr(options, name)
        if type(value) is not int or value < bound:
            msg = f"{name} must be an integer >= {bound}, got {value!r}"
            raise InvalidOptionError(msg)


def _positive(options: object, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if not (math.isfinite(value) and value > 0):
            msg = f"{name} must be finite and > 0, got {value!r}"
            raise InvalidOptionError(msg)


def _share(options: object, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if not 0 <= value <= 1:
            msg = f"{name} must be in 0..1, got {value!r}"
            raise InvalidOptionError(msg)


def _one_of(value: str, name: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        msg = f"{name} must be one of {', '.join(allowed)}, got {value!r}"
        raise InvalidOptionError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class PopulationOptions:
    """Whose data the devices hold.

    Attributes:
        source: "unipen" (192 writers), "omniglot" (drawers of one alphabet), "hapt" (30 people),
            "digits" or "glyphs" (simulated writers).
        persons: People who take part; 0: all real ones who are not held out, and of simulated ones
            as many as there are devices.
        devices: Devices that may take part. Where the source has fewer people, several devices
            hold different examples of one person.
        examples: Examples on one device, at most.
        held_out: People who are on no device and are only measured; at least 2.
        partition: "users": a device holds one person's examples. "dirichlet": a device draws its
            share of each label from a Dirichlet distribution, over all people who take part (Hsu,
            Qi and Brown, 2019).
        alpha: Concentration of that distribution; small is skewed.
        max_classes: Labels in use, the first ones; 0: as many as the bundle has slots.
        shots: Examples of each label that a held-out person teaches before being measured; 0:
            nothing is taught, as of Omniglot's drawers, who drew each character once.
    """

    source: str = "unipen"
    persons: int = 0
    devices: int = 1000
    examples: int = 20
    held_out: int = 40
    partition: Literal["users", "dirichlet"] = "users"
    alpha: float = 0.5
    max_classes: int = 0
    shots: int = 1

    def __post_init__(self) -> None:
        _counts(self, persons=0, devices=1, examples=1, held_out=2, max_classes=0, shots=0)
        _positive(self, "alpha")
        _one_of(self.partition, "partition", ("users", "dirichlet"))


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetRoundOptions:
    """How the coordinator runs rounds.

    Attributes:
        rounds: Server iterations.
        replies: A round closes at so many updates; of a buffered run, the size of the buffer.
        over_selection: Devices asked for each reply that is wanted, at least 1.
        deadline_s: A round closes after so many virtual seconds at the latest.
        interval_s: A round opens so many virtual seconds after the one before did, at the earliest.
        patience_s: How long, in virtual seconds, the coordinator waits for enough devices to check
            in before it makes do with those that have.
        server_lr: Length of the server's step.
        clipping_norm: L2 bound on one device's whole update.
        steps: Inner steps on a device; 0: the bundle's own number.
        aggregator: "mean", or where single updates may be seen a robust one: "median" or
            "trimmed_mean".
        trim_share: What "trimmed_mean" leaves out at each end, in [0, 0.5).
    """

    rounds: int = 20
    replies: int = 100
    over_selection: float = 1.3
    deadline_s: float = 1800.0
    interval_s: float = 600.0
    patience_s: float = 86_400.0
    server_lr: float = 1.0
    clipping_norm: float = 10.0
    steps: int = 0
    aggregator: Literal["mean", "median", "trimmed_mean"] = "mean"
    trim_share: float = 0.25

    def __post_init__(self) -> None:
        _counts(self, rounds=1, replies=1, steps=0)
        if not (math.isfinite(self.interval_s) and self.interval_s >= 0):
            msg = f"interval_s must be finite and >= 0, got {self.interval_s!r}"
            raise InvalidOptionError(msg)
        _positive(self, "deadline_s", "patience_s", "server_lr", "clipping_norm")
        if not (math.isfinite(self.over_selection) and self.over_selection >= 1):
            msg = f"over_selection must be finite and >= 1, got {self.over_selection!r}"
            raise InvalidOptionError(msg)
        _one_of(self.aggregator, "aggregator", ("mean", "median", "trimmed_mean"))
        if not 0 <= self.trim_share < 0.5:
            msg = f"trim_share must be in [0, 0.5), got {self.trim_share!r}"
            raise InvalidOptionError(msg)

    @property
    def cohort_size(self) -> int:
        """Devices asked in one round."""
        return math.ceil(self.replies * self.over_selection)


@dataclass(frozen=True, kw_only=True, slots=True)
class AlgorithmOptions:
    """What devices do in a round.

    Attributes:
        name: A key of `federated.fleet.algorithms.ALGORITHMS`.
        asynchronous: Devices come when they can, and the server steps when its buffer is full
            (FedBuff).
        concurrency: Devices at work at a time, where asynchronous.
        max_staleness: Server steps that an update may be behind; older ones are not used.
        head_steps: "fedrep": steps on the personal tensors before those on the others.
        pull: "ditto": how far, in 0..1, each step draws a personal state to the shared one (the
            paper's step size times lambda).
    """

    name: str = "fedavg"
    asynchronous: bool = False
    concurrency: int = 200
    max_staleness: int = 20
    head_steps: int = 5
    pull: float = 0.1

    def __post_init__(self) -> None:
        _counts(self, concurrency=1, max_staleness=0, head_steps=1)
        _share(self, "pull")


@dataclass(frozen=True, kw_only=True, slots=True)
class AvailabilityOptions:
    """When devices can take part. Hours are of the device's own time zone.

    Attributes:
        require_charging: Only devices on a charger check in.
        require_wifi: Only devices on Wi-Fi check in.
        time_zones: Hours east of UTC; each device lives in one of them, drawn evenly.
        charge_share: Nights on which a device is put on its charger.
        charge_hour: When that is, on average; each device has habits of its own, an hour and a
            half apart, and varies from night to night.
        charge_hours: How long it stays there, the median of a log-normal.
        wifi_share: Days on which a device is at home, on Wi-Fi, from 18:00 to 08:00.
        start_hour: The hour, UTC, at which the simulation starts.
    """

    require_charging: bool = True
    require_wifi: bool = True
    time_zones: tuple[float, ...] = (-8.0, -5.0, 0.0, 1.0, 5.5, 8.0)
    charge_share: float = 0.8
    charge_hour: float = 22.5
    charge_hours: float = 7.0
    wifi_share: float = 0.9
    start_hour: float = 0.0

    def __post_init__(self) -> None:
        _share(self, "charge_share", "wifi_share")
        if not self.time_zones or not all(-12 <= zone <= 14 for zone in self.time_zones):
            msg = "time_zones must hold at least one offset, each in -12..14 hours"
            raise InvalidOptionError(msg)
        for name in ("charge_hour", "start_hour"):
            if not 0 <= getattr(self, name) < 24:
                msg = f"{name} must be in [0, 24), got {getattr(self, name)!r}"
                raise InvalidOptionError(msg)
        if not 0 < self.charge_hours <= 20:
            msg = f"charge_hours must be in (0, 20], got {self.charge_hours!r}"
            raise InvalidOptionError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class DropoutOptions:
    """Chances that a device leaves a round by itself, at each stage; and stragglers.

    A device also leaves when its charger or its Wi-Fi goes, where that is required.

    Attributes:
        before_start: After it was asked, before it trains.
        training: While it trains.
        upload: While it sends its update.
        stragglers: Share of devices that are `straggler_factor` times slower than their tier.
        straggler_factor: How much slower, at least 1.
    """

    before_start: float = 0.05
    training: float = 0.05
    upload: float = 0.02
    stragglers: float = 0.05
    straggler_factor: float = 8.0

    def __post_init__(self) -> None:
        _share(self, "before_start", "training", "upload", "stragglers")
        if not (math.isfinite(self.straggler_factor) and self.straggler_factor >= 1):
            msg = f"straggler_factor must be finite and >= 1, got {self.straggler_factor!r}"
            raise InvalidOptionError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetOptions:
    """What a device may spend on rounds in a day (UTC). Only what is metered counts.

    Attributes:
        metered_mb: Megabytes over a metered link, that is, without Wi-Fi.
        battery_joules: Energy while not on a charger.
    """

    metered_mb: float = 20.0
    battery_joules: float = 500.0

    def __post_init__(self) -> None:
        _positive(self, "metered_mb", "battery_joules")


@dataclass(frozen=True, kw_only=True, slots=True)
class TierOptions:
    """A class of devices.

    Attributes:
        name: For reports.
        share: Of the fleet, in relation to the other tiers' shares.
        start_s: Median seconds from being asked to the first step.
        step_ms: Median milliseconds of one inner step on one example.
        spread: Deviation of the logarithm of durations.
        downlink_mbps: Megabits a second, median.
        uplink_mbps: The same to the server.
        watts: Power while training and sending.
    """

    name: str
    share: float = 1.0
    start_s: float = 2.0
    step_ms: float = 1.0
    spread: float = 0.4
    downlink_mbps: float = 20.0
    uplink_mbps: float = 5.0
    watts: float = 3.0

    def __post_init__(self) -> None:
        _positive(self, "share", "start_s", "step_ms", "downlink_mbps", "uplink_mbps", "watts")
        if not (math.isfinite(self.spread) and self.spread >= 0):
            msg = f"spread must be finite and >= 0, got {self.spread!r}"
            raise InvalidOptionError(msg)


TIERS = (
    TierOptions(name="high", share=0.3, step_ms=0.3, downlink_mbps=80.0, uplink_mbps=20.0),
    TierOptions(name="middle", share=0.5),
    TierOptions(
        name="low", share=0.2, start_s=5.0, step_ms=5.0, downlink_mbps=5.0, uplink_mbps=1.0
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackOptions:
    """Devices that want to harm the model; they do not keep to the bound on their update.

    Attributes:
        kind: "none", "boosted" (an update in a random direction, the same for all attackers of a
            round), "sign-flip" (the opposite of the honest update) or "label-flip" (an honest
            update from labels that were moved by one).
        share: Of the devices.
        boost: Factor on the update of "boosted" and "sign-flip".
    """

    kind: Literal["none", "boosted", "sign-flip", "label-flip"] = "none"
    share: float = 0.0
    boost: float = 10.0

    def __post_init__(self) -> None:
        _one_of(self.kind, "kind", ("none", "boosted", "sign-flip", "label-flip"))
        _share(self, "share")
        _positive(self, "boost")


@dataclass(frozen=True, kw_only=True, slots=True)
class RayOptions:
    """Training in several processes, by Ray. Results do not depend on it.

    Attributes:
        processes: How many; a device always trains in the same one.
        address: Of a running cluster, whose machines have this package and processors of one kind;
            empty: processes on this machine.
    """

    processes: int = 2
    address: str = ""

    def __post_init__(self) -> None:
        _counts(self, processes=1)
