from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from federated.fleet.config import FleetConfig
from federated.fleet.devices import Devices
from federated.fleet.options import (
    AttackOptions,
    BudgetOptions,
    DropoutOptions,
    FleetRoundOptions,
    TierOptions,
)
from federated.fleet.timeline import Fate, Load, Visits, close, visit
from tests.unit.federated.fleet.conftest import ALWAYS, NO_DROPOUT

LOAD = Load(steps=5, bytes_down=100_000, bytes_up=100_000)
STEADY = TierOptions(name="steady", spread=0.0, start_s=2.0, step_ms=4.0, downlink_mbps=8.0)
N = 4000


def visits_of(config: FleetConfig, until: float = np.inf, now: float = 0.0) -> Visits:
    devices = Devices(config, np.full(N, 10))
    chosen = np.arange(N)
    return visit(
        devices, config, LOAD, chosen, np.full(N, until), np.full(N, now), np.zeros(N, np.int64)
    )


def test_durations_add_up() -> None:
    config = FleetConfig(availability=ALWAYS, dropout=NO_DROPOUT, tier=(STEADY,))
    visits = visits_of(config, now=50.0)
    assert np.all(visits.fate == Fate.FINISHED)
    # start 2 s, 5 steps on 10 examples at 4 ms, 0.8 Mbit down at 8 and up at 5 Mbit/s
    assert np.median(visits.finish) == pytest.approx(50 + 2 + 0.2 + 0.1 + 0.16, abs=0.02)
    assert visits.finish.min() > 52.2
    assert visits.joules.min() > 3.0 * 0.2


def test_durations_are_log_normal_and_stragglers_are_slower() -> None:
    tier = replace(STEADY, spread=0.4)
    config = FleetConfig(availability=ALWAYS, dropout=NO_DROPOUT, tier=(tier,))
    spread = np.log(visits_of(config).finish).std()
    assert 0.3 < spread < 0.45
    slow = replace(config, dropout=replace(NO_DROPOUT, stragglers=0.1, straggler_factor=100.0))
    assert abs(np.mean(visits_of(slow).finish > 50) - 0.1) < 0.02


def test_each_stage_loses_its_share() -> None:
    drop = DropoutOptions(before_start=0.2, training=0.3, upload=0.1, stragglers=0.0)
    visits = visits_of(FleetConfig(availability=ALWAYS, dropout=drop))
    left = 1.0
    for fate, chance in (
        (Fate.LOST_BEFORE_START, 0.2),
        (Fate.LOST_TRAINING, 0.3),
        (Fate.LOST_UPLOAD, 0.1),
    ):
        assert abs(visits.count(fate) / N - left * chance) < 0.03
        left *= 1 - chance
    assert visits.count(Fate.FINISHED) == np.count_nonzero(visits.bytes_up)
    assert np.all(visits.joules[visits.fate == Fate.LOST_BEFORE_START] == 0)


@pytest.mark.parametrize(
    ("until", "fate"),
    [(1.0, Fate.LOST_BEFORE_START), (2.25, Fate.LOST_TRAINING), (1e9, Fate.FINISHED)],
)
def test_a_device_is_lost_when_its_charger_goes(until: float, fate: Fate) -> None:
    config = FleetConfig(
        availability=ALWAYS, dropout=NO_DROPOUT, tier=(replace(STEADY, downlink_mbps=1e6),)
    )
    visits = visits_of(
        replace(config, tier=(replace(STEADY, downlink_mbps=1e6, step_ms=10.0),)), until
    )
    assert np.all(visits.fate == fate)


def a_round(finish: list[float], fate: Fate = Fate.FINISHED) -> Visits:
    n = len(finish)
    zeros = np.zeros(n)
    return Visits(np.arange(n), np.full(n, int(fate)), np.array(finish), zeros, zeros, zeros)


def test_a_round_closes_at_enough_replies_and_the_rest_is_late() -> None:
    visits, closed = close(a_round([5.0, 1.0, 9.0, 3.0]), replies=2, deadline=100.0)
    assert closed == 3.0
    assert visits.fate.tolist() == [Fate.LATE, Fate.FINISHED, Fate.LATE, Fate.FINISHED]


def test_a_round_closes_at_its_deadline_with_what_is_there() -> None:
    visits, closed = close(a_round([5.0, 1.0, 9.0]), replies=3, deadline=6.0)
    assert closed == 6.0
    assert visits.fate.tolist() == [Fate.FINISHED, Fate.FINISHED, Fate.LATE]


def test_equal_times_close_a_round_at_exactly_enough() -> None:
    visits, _ = close(a_round([2.0] * 5), replies=3, deadline=6.0)
    assert visits.count(Fate.FINISHED) == 3


def test_a_round_that_asked_nobody_closes_at_its_deadline() -> None:
    visits, closed = close(a_round([]), replies=0, deadline=6.0)
    assert closed == 6.0
    assert len(visits.fate) == 0


def test_nothing_is_sent_to_a_device_that_is_not_there() -> None:
    visits = visits_of(FleetConfig(availability=ALWAYS, dropout=NO_DROPOUT), until=-np.inf)
    assert np.all(visits.fate == Fate.LOST_BEFORE_START)
    assert not visits.bytes_down.any()
    gone_at_once = visits_of(FleetConfig(availability=ALWAYS, dropout=NO_DROPOUT), until=0.1)
    assert np.all(gone_at_once.bytes_down == LOAD.bytes_down)


def test_what_is_lost_does_not_close_a_round() -> None:
    visits, closed = close(a_round([1.0, 2.0], Fate.LOST_UPLOAD), replies=1, deadline=6.0)
    assert closed == 6.0
    assert visits.count(Fate.LOST_UPLOAD) == 2


def test_tiers_and_attackers_have_their_shares() -> None:
    config = FleetConfig(attack=AttackOptions(kind="boosted", share=0.05))
    devices = Devices(config, np.full(N, 1))
    shares = np.bincount(devices.tier) / N
    np.testing.assert_allclose(shares, [0.3, 0.5, 0.2], atol=0.03)
    assert devices.attacks.sum() == 200
    assert not Devices(FleetConfig(attack=AttackOptions(share=0.5)), np.full(N, 1)).attacks.any()
    assert devices.numbers(devices.ids[:3]).tolist() == [0, 1, 2]
    assert list(devices.ids) == sorted(devices.ids)


def test_a_device_that_has_spent_its_day_waits_for_the_next() -> None:
    config = FleetConfig(
        availability=replace(ALWAYS, wifi_share=0.0, charge_share=0.0),
        budget=BudgetOptions(metered_mb=1.0, battery_joules=100.0),
        round=FleetRoundOptions(),
    )
    devices = Devices(config, np.full(3, 1))
    both = np.array([0, 1])
    devices.spend(both, np.array([1e6, 0.0]), np.array([0.0, 100.0]), 10.0)
    assert devices.available_until(20.0).tolist() == [-np.inf, -np.inf, np.inf]
    assert devices.available_until(86_400.0).tolist() == [np.inf] * 3


def test_what_is_not_metered_is_not_counted() -> None:
    options = replace(ALWAYS, wifi_share=1.0, charge_share=1.0, time_zones=(0.0,), charge_hours=20)
    config = FleetConfig(availability=options, budget=BudgetOptions(metered_mb=1.0))
    devices = Devices(config, np.full(50, 1))
    everyone, midnight = np.arange(50), 86_400.0 + 3600
    devices.spend(everyone, np.full(50, 5e6), np.zeros(50), midnight)
    assert np.all(devices.available_until(midnight + 10 * 3600) == np.inf)
