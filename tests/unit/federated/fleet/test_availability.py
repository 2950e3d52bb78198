from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from federated.fleet.availability import DAY_S, HOUR_S, charging_until, time_zones, wifi_until
from federated.fleet.options import AvailabilityOptions

DEVICES = np.arange(4000)
UTC = AvailabilityOptions(time_zones=(0.0,))


def share_charging(options: AvailabilityOptions, hour: float) -> float:
    until = charging_until(options, 0, DEVICES, 2 * DAY_S + hour * HOUR_S)
    return float(np.mean(until > -np.inf))


def test_most_charge_at_night_and_few_at_noon() -> None:
    assert share_charging(UTC, 1) > 0.65  # of the 80 % that charge at all
    assert share_charging(UTC, 14) < 0.02
    never = replace(UTC, charge_share=0.0)
    assert share_charging(never, 1) == 0.0


def test_night_comes_when_it_does_in_the_devices_time_zone() -> None:
    tokyo = replace(UTC, time_zones=(9.0,))
    assert share_charging(tokyo, 16) == share_charging(UTC, 25)


def test_a_window_ends_when_it_says_and_its_end_does_not_change_while_it_is_open() -> None:
    now = 2 * DAY_S + 1 * HOUR_S
    until = charging_until(UTC, 0, DEVICES, now)
    on = until > now
    soon = now + 0.5 * HOUR_S
    later = charging_until(UTC, 0, DEVICES, soon)
    still = on & (until > soon)
    np.testing.assert_array_equal(later[still], until[still])
    assert np.all(later[on & (until <= soon)] == -np.inf)
    hours = (until[on] - now) / HOUR_S
    assert hours.min() > 0
    assert hours.max() <= 20


def test_nights_differ_but_habits_stay() -> None:
    """Who charges early one night does so the next; but not to the minute."""
    always = replace(UTC, charge_share=1.0)
    early = [
        charging_until(always, 0, DEVICES, day * DAY_S + 22 * HOUR_S) > -np.inf for day in (3, 4)
    ]
    correlation = np.corrcoef(*early)[0, 1]
    assert 0.3 < correlation < 0.9


@pytest.mark.parametrize(("hour", "home"), [(19, True), (7.9, True), (8.1, False), (17.9, False)])
def test_wifi_is_at_home(hour: float, home: bool) -> None:
    always = replace(UTC, wifi_share=1.0)
    until = wifi_until(always, 0, DEVICES, DAY_S + hour * HOUR_S)
    assert np.all((until > -np.inf) == home)
    half = wifi_until(replace(UTC, wifi_share=0.5), 0, DEVICES, DAY_S + 20 * HOUR_S)
    assert abs(np.mean(half > -np.inf) - 0.5) < 0.05


def test_time_zones_are_drawn_evenly() -> None:
    zones = time_zones(AvailabilityOptions(), 0, DEVICES) / HOUR_S
    values, counts = np.unique(zones, return_counts=True)
    assert sorted(values) == [-8.0, -5.0, 0.0, 1.0, 5.5, 8.0]
    assert counts.min() > 500


def test_the_first_hour_of_the_first_day_is_a_night_like_any_other() -> None:
    now = 1 * HOUR_S
    first = np.mean(charging_until(UTC, 0, DEVICES, now) > -np.inf)
    assert abs(first - share_charging(UTC, 1)) < 0.05
