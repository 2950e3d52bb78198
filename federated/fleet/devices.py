"""The devices of a fleet: fixed traits as arrays, and what they spent today."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from federated.fleet.availability import DAY_S, charging_until, wifi_until
from federated.fleet.draws import Stream, uniform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.fleet.config import FleetConfig
    from federated.fleet.options import TierOptions

    Int = NDArray[np.int64]
    Float = NDArray[np.float64]
    Bool = NDArray[np.bool_]

_PREFIX = "device-"
_BYTES_PER_MB = 1e6


class Devices:
    """All devices of a fleet.

    Attributes:
        ids: Their client ids, ascending.
        tier: Index into the config's tiers, int64 `[devices]`.
        slowness: Factor on durations, `[devices]`: 1, or a straggler's.
        attacks: Which want to harm, bool `[devices]`.
        examples: On each device, int64 `[devices]`.
    """

    def __init__(self, config: FleetConfig, examples: Int) -> None:
        n = len(examples)
        self._config = config
        self._all = np.arange(n)
        self._day = -1
        self._metered = np.zeros(n)
        self._joules = np.zeros(n)
        width = max(5, len(str(n - 1)))
        self.ids = tuple(f"{_PREFIX}{i:0{width}d}" for i in range(n))
        self.examples = examples
        self.tier = _tiers(config.tier, uniform(config.seed, Stream.TIER, self._all))
        slow = uniform(config.seed, Stream.STRAGGLER, self._all) < config.dropout.stragglers
        self.slowness = np.where(slow, config.dropout.straggler_factor, 1.0)
        self.attacks = _fraction(n, config.attack.share, config.seed)
        if config.attack.kind == "none":
            self.attacks[:] = False

    def numbers(self, client_ids: Sequence[str]) -> Int:
        """Which devices these ids are, int64 `[n]`."""
        return np.array([int(name[len(_PREFIX) :]) for name in client_ids], np.int64)

    def available_until(self, now: float) -> Float:
        """Until when each device can take part, `[devices]`; -inf for one that cannot now."""
        options, seed = self._config.availability, self._config.seed
        charging = charging_until(options, seed, self._all, now)
        wifi = wifi_until(options, seed, self._all, now)
        until = np.full(len(self._all), np.inf)
        if options.require_charging:
            until = np.minimum(until, charging)
        if options.require_wifi:
            until = np.minimum(until, wifi)
        self._start_day(now)
        budget = self._config.budget
        spent = (self._metered >= budget.metered_mb) & (wifi == -np.inf)
        spent |= (self._joules >= budget.battery_joules) & (charging == -np.inf)
        return np.where(spent, -np.inf, until)

    def spend(self, devices: Int, num_bytes: Float, joules: Float, now: float) -> None:
        """Book what a round took: bytes where there is no Wi-Fi, energy where no charger."""
        options, seed = self._config.availability, self._config.seed
        self._start_day(now)
        metered = wifi_until(options, seed, devices, now) == -np.inf
        on_battery = charging_until(options, seed, devices, now) == -np.inf
        self._metered[devices] += np.where(metered, num_bytes / _BYTES_PER_MB, 0.0)
        self._joules[devices] += np.where(on_battery, joules, 0.0)

    def _start_day(self, now: float) -> None:
        day = int(now // DAY_S)
        if day != self._day:
            self._day = day
            self._metered[:] = 0
            self._joules[:] = 0


def _tiers(tiers: Sequence[TierOptions], draws: Float) -> Int:
    ends = np.cumsum([tier.share for tier in tiers])
    return np.minimum(np.searchsorted(ends / ends[-1], draws, side="right"), len(tiers) - 1)


def _fraction(n: int, share: float, seed: int) -> Bool:
    """Mark exactly the nearest number to `share` of `n`: the ones with the smallest draws."""
    chosen = np.zeros(n, bool)
    order = np.argsort(uniform(seed, Stream.ATTACKER, np.arange(n)), kind="stable")
    chosen[order[: round(share * n)]] = True
    return chosen
