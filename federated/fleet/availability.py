"""When a device is on its charger, and when on Wi-Fi: pure functions of its habits and the time.

Time is in seconds since midnight UTC of the simulation's first day. A device's charger goes in once
an evening, on some evenings, and comes out hours later; Wi-Fi is the home's, from 18:00 to 08:00.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from federated.fleet.draws import Stream, normal, uniform

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from federated.fleet.options import AvailabilityOptions

    Int = NDArray[np.int64]
    Float = NDArray[np.float64]
    _Window = Callable[[Int], tuple[Float, Float, NDArray[np.bool_]]]

DAY_S = 86_400.0
HOUR_S = 3600.0
_HABIT_H = 1.5  # between devices
_NIGHT_H = 0.7  # of one device, between nights
_LENGTH_SPREAD = 0.35  # of the logarithm
_LONGEST_H = 20.0
_HOME_FROM_H = 18.0
_HOME_HOURS = 14.0
# A window that is open now began at most so many local days before today: the latest start is well
# under 24 + 12 hours into its day, and no window is longer than 20 hours.
_DAYS_BACK = 3


def time_zones(options: AvailabilityOptions, seed: int, devices: Int) -> Float:
    """Seconds east of UTC of each device, `[n]`."""
    zones = np.array(options.time_zones)
    chosen = uniform(seed, Stream.TIME_ZONE, devices) * len(zones)
    return np.asarray(zones[chosen.astype(np.int64)] * HOUR_S)


def charging_until(options: AvailabilityOptions, seed: int, devices: Int, now: float) -> Float:
    """When each device leaves the charger that it is on now, `[n]`; -inf for one on none."""
    zones = time_zones(options, seed, devices)
    habit = _HABIT_H * normal(seed, Stream.HABIT, devices)

    def window(day: Int) -> tuple[Float, Float, NDArray[np.bool_]]:
        jitter = _NIGHT_H * normal(seed, Stream.WINDOW_START, devices, day)
        start = options.charge_hour + np.clip(habit + jitter, -12.0, 12.0)
        spread = _LENGTH_SPREAD * normal(seed, Stream.WINDOW_LENGTH, devices, day)
        hours = np.minimum(options.charge_hours * np.exp(spread), _LONGEST_H)
        charges = uniform(seed, Stream.CHARGES, devices, day) < options.charge_share
        return start, hours, charges

    return _open_until(window, zones, now)


def wifi_until(options: AvailabilityOptions, seed: int, devices: Int, now: float) -> Float:
    """When each device leaves the Wi-Fi that it is on now, `[n]`; -inf for one on none."""
    zones = time_zones(options, seed, devices)

    def window(day: Int) -> tuple[Float, Float, NDArray[np.bool_]]:
        at_home = uniform(seed, Stream.WIFI, devices, day) < options.wifi_share
        n = len(devices)
        return np.full(n, _HOME_FROM_H), np.full(n, _HOME_HOURS), at_home

    return _open_until(window, zones, now)


def _open_until(window: _Window, zones: Float, now: float) -> Float:
    local = now + zones
    today = np.floor(local / DAY_S).astype(np.int64)
    until = np.full(len(zones), -np.inf)
    for back in range(_DAYS_BACK):
        day = today - back
        # the hash takes numbers >= 0; no simulation starts before day 0, and zones are under a day
        start_h, hours, happens = window(day + _DAYS_BACK)
        start = day * DAY_S + start_h * HOUR_S
        end = start + hours * HOUR_S
        is_open = happens & (start <= local) & (local < end)
        until = np.where(is_open, np.maximum(until, end - zones), until)
    return until
