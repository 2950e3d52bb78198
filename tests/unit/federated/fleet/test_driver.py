from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from federated.errors import NotEnoughClientsError
from federated.fleet.buffered import BufferedDriver
from federated.fleet.config import FleetConfig
from federated.fleet.driver import SynchronousDriver
from federated.fleet.options import AlgorithmOptions, DropoutOptions, FleetRoundOptions
from federated.round_core import RoundOptions, RoundTask, run_rounds
from tests.unit.federated.fleet.conftest import ALWAYS, LOAD, Ones, a_fleet, quiet

if TYPE_CHECKING:
    from federated.round_core import RunResult

Driver = SynchronousDriver | BufferedDriver


def run(driver: Driver, rounds: int, clipping_norm: float = 100.0) -> RunResult:
    options = RoundOptions(
        rounds=rounds, cohort_size=driver.cohort_size, clipping_norm=clipping_norm, seed=5
    )
    return run_rounds(
        {"w": np.zeros(4, np.float32)},
        driver.candidates,
        "digest",
        options,
        driver.collect,
        lambda _report, _shared: driver.candidates.forget(),
    )


def synchronous(config: FleetConfig) -> tuple[SynchronousDriver, Ones]:
    devices = a_fleet(config)
    work = Ones(devices)
    return SynchronousDriver(devices, config, LOAD, work), work


def buffered(config: FleetConfig) -> tuple[BufferedDriver, Ones]:
    devices = a_fleet(config)
    work = Ones(devices)
    return BufferedDriver(devices, config, LOAD, work), work


def test_only_updates_in_time_are_computed_and_each_round_closes_at_enough() -> None:
    driver, work = synchronous(quiet(replies=20, over_selection=1.5))
    result = run(driver, 3)
    assert [report.num_accepted for report in result.reports] == [20] * 3
    assert [len(chosen) for chosen, _ in work.calls] == [20] * 3
    assert [visits.asked for visits in driver.reports] == [30] * 3
    assert [visits.late for visits in driver.reports] == [10] * 3
    np.testing.assert_allclose(result.shared["w"], 3.0)


def test_a_cohort_drawn_from_everyone_may_be_empty() -> None:
    config = quiet(replies=1)
    devices = a_fleet(config)
    driver = SynchronousDriver(devices, config, LOAD, Ones(devices), everyone=True)
    assert len(driver.candidates) == len(devices.ids)
    nobody = RoundTask(
        server_round=0,
        cohort=(),
        shared={"w": np.zeros(4, np.float32)},
        bundle_digest="digest",
        clipping_norm=1.0,
        steps=None,
    )
    assert list(driver.collect(nobody)) == []
    assert (driver.reports[0].asked, driver.reports[0].reached) == (0, 0)
    assert driver.reports[0].closed_s == config.round.deadline_s


def test_rounds_open_at_their_interval() -> None:
    driver, _ = synchronous(quiet(replies=5, interval_s=900.0))
    run(driver, 3)
    assert [visits.opened_s for visits in driver.reports] == [0.0, 900.0, 1800.0]


def test_losses_are_missing_replies_and_the_books_agree() -> None:
    config = replace(
        quiet(replies=60, over_selection=1.0),
        dropout=DropoutOptions(before_start=0.3, training=0.2, upload=0.1, stragglers=0.3),
    )
    driver, _ = synchronous(config)
    result = run(driver, 4)
    for report, visits in zip(result.reports, driver.reports, strict=True):
        lost = visits.lost_before_start + visits.lost_training + visits.lost_upload
        assert visits.asked == visits.finished + visits.late + lost == report.num_sampled
        assert report.num_missing == lost + visits.late > 0
        assert visits.bytes_up == 1000 * (visits.finished + visits.late)
        assert visits.closed_s - visits.opened_s <= config.round.deadline_s


def test_the_coordinator_waits_for_devices_to_check_in() -> None:
    """At noon in every time zone there is hardly anybody; at night there are enough."""
    config = FleetConfig(round=FleetRoundOptions(replies=50, over_selection=1.0))
    availability = replace(config.availability, time_zones=(0.0,), start_hour=12.0)
    driver, _ = synchronous(replace(config, availability=availability))
    run(driver, 1)
    assert 20 * 3600 < driver.reports[0].opened_s < 26 * 3600
    assert driver.reports[0].available >= 50


def test_a_fleet_that_never_checks_in_is_an_error_that_says_what_to_do() -> None:
    config = FleetConfig(round=FleetRoundOptions(patience_s=7200.0))
    config = replace(config, availability=replace(config.availability, charge_share=0.0))
    with pytest.raises(NotEnoughClientsError, match=r"raise round\.patience_s"):
        run(synchronous(config)[0], 1)
    with pytest.raises(NotEnoughClientsError, match=r"raise round\.patience_s"):
        run(buffered(config)[0], 1)


def test_a_coordinator_without_patience_makes_do_with_who_is_there() -> None:
    driver, _ = synchronous(quiet(replies=500, over_selection=1.0, patience_s=600.0))
    result = run(driver, 1)
    assert result.reports[0].num_accepted == 200


def with_buffer(size: int, concurrency: int, **rest: int) -> FleetConfig:
    config = quiet(replies=size)
    algorithm = AlgorithmOptions(asynchronous=True, concurrency=concurrency, **rest)
    return replace(config, algorithm=algorithm)


def test_a_buffered_server_steps_at_each_full_buffer_and_weighs_by_staleness() -> None:
    driver, work = buffered(with_buffer(10, 40))
    result = run(driver, 8)
    assert [report.num_accepted for report in result.reports] == [10] * 8
    assert not any(report.num_missing for report in result.reports)
    staleness = [visits.staleness for visits in driver.reports]
    assert staleness[0] == 0
    assert max(staleness) > 0.5
    # what had started from the first tensors is computed from those in later rounds, too
    assert [value for _, value in work.calls].count(0.0) > 1
    assert float(result.shared["w"][0]) < 8.0  # stale updates count less
    assert float(result.shared["w"][0]) > 8.0 / np.sqrt(1 + max(staleness) + 2)


def test_a_buffer_without_staleness_is_a_synchronous_round() -> None:
    driver, _ = buffered(with_buffer(10, 10))
    result = run(driver, 3)
    np.testing.assert_allclose(result.shared["w"], 3.0)
    assert [visits.staleness for visits in driver.reports] == [0.0] * 3


def test_updates_that_are_too_old_are_dropped() -> None:
    config = with_buffer(5, 60, max_staleness=0)
    driver, _ = buffered(config)
    run(driver, 6)
    assert sum(visits.late for visits in driver.reports) > 0
    assert [visits.staleness for visits in driver.reports] == [0.0] * 6


def test_no_device_is_twice_in_one_buffer() -> None:
    driver, work = buffered(with_buffer(150, 200))
    result = run(driver, 3)
    assert not any(report.refused for report in result.reports)
    assert [report.num_accepted for report in result.reports] == [150] * 3
    assert work.calls


@pytest.mark.parametrize("make", [synchronous, buffered])
def test_the_same_seed_gives_the_same_run_and_another_another(make: object) -> None:
    config = FleetConfig(round=FleetRoundOptions(replies=20))

    def reports(seed: int) -> list[object]:
        driver, _ = make(replace(config, seed=seed))  # type: ignore[operator]
        run(driver, 4)
        return list(driver.reports)

    assert reports(1) == reports(1)
    assert reports(1) != reports(2)


def test_devices_that_are_always_there_need_no_night() -> None:
    driver, _ = synchronous(replace(quiet(replies=5), availability=ALWAYS))
    run(driver, 1)
    assert driver.reports[0].available == 200
