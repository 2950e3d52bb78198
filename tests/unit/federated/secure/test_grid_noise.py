"""Masked rounds over Flower's messages: noise as claimed, and what rounding takes is carried on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Personalizer
from edge_sdk.grid import flatten
from edge_sdk.random_words import SystemWords
from federated.privacy.mechanism import plan_noise
from federated.privacy.options import PrivacyOptions
from federated.round_core import PrivateRounds, RoundOptions, RoundReport, RoundTask, run_rounds
from federated.secure.messages import Kind
from tests.support.masked_fleet import CLIPPING_NORM, Fleet, asked_for, exact_sum, make_fleet

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("flower_process")


@pytest.fixture
def fleet(tmp_path: Path, tiny_labelled_bundle: Path) -> Fleet:
    return make_fleet(tmp_path, tiny_labelled_bundle)


DISTRIBUTED = PrivacyOptions(
    noise="distributed", noise_multiplier=1.0, min_contributors=6, sampling="fixed"
)


def private(options: PrivacyOptions) -> PrivateRounds:
    return PrivateRounds(
        options=options,
        charge=lambda _: None,
        settle=lambda _: None,
        words=lambda *_: SystemWords(),
    )


def run_private(
    fleet: Fleet, options: PrivacyOptions, rounds: int = 1
) -> tuple[list[RoundReport], np.ndarray]:
    """Private rounds from the same start; the noise in what they released."""
    task = fleet.task()
    exact = exact_sum(fleet, set(fleet.settings) - set(fleet.leaves))
    reports, noise = [], []
    for _ in range(rounds):
        result = run_rounds(
            task.shared,
            sorted(fleet.settings),
            task.bundle_digest,
            RoundOptions(rounds=1, cohort_size=len(fleet.settings), clipping_norm=CLIPPING_NORM),
            lambda asked: fleet.round(privacy=options, task=asked),
            privacy=private(options),
        )
        (report,) = result.reports
        reports.append(report)
        moved = (flatten(result.shared) - flatten(task.shared)).astype(np.float64)
        noise.append(moved * report.denominator - exact)
    return reports, np.concatenate(noise)


def test_distributed_noise_over_the_grid_with_40_percent_gone(
    tmp_path: Path, tiny_labelled_bundle: Path
) -> None:
    fleet = make_fleet(tmp_path, tiny_labelled_bundle, num=10, group_size=10)
    fleet.leaves = dict.fromkeys(("u00", "u03", "u04", "u08"), 0)
    reports, noise = run_private(fleet, DISTRIBUTED, rounds=4)
    assert {report.num_accepted for report in reports} == {6}
    claimed = reports[0].noise_deviation
    assert claimed >= DISTRIBUTED.noise_multiplier * CLIPPING_NORM
    # 128 numbers: within four deviations of what a deviation measured on them has
    assert noise.std() == pytest.approx(claimed, rel=4 / np.sqrt(2 * noise.size))


def test_central_noise_on_a_masked_sum(fleet: Fleet) -> None:
    options = PrivacyOptions(noise_multiplier=2.0, sampling="fixed")
    reports, noise = run_private(fleet, options, rounds=4)
    assert reports[0].noise_deviation == pytest.approx(2 * CLIPPING_NORM, rel=1e-3)
    assert noise.std() == pytest.approx(2 * CLIPPING_NORM, rel=4 / np.sqrt(2 * noise.size))


def test_too_few_shares_of_noise_are_never_summed(
    tmp_path: Path, tiny_labelled_bundle: Path
) -> None:
    """The server must not even see the sum: the members reveal nothing under that threshold."""
    fleet = make_fleet(tmp_path, tiny_labelled_bundle, num=6, group_size=6)
    fleet.leaves = {"u05": int(Kind.VECTOR)}
    reports, _ = run_private(fleet, DISTRIBUTED)
    assert reports[0].num_accepted == 0
    assert reports[0].given_up == {"too_few_members": 1, "too_few_contributors": 1}
    assert int(Kind.REVEALED) not in {asked_for(msg) for _, msg in fleet.sent}


def test_a_device_takes_part_where_the_noise_is_enough_for_it(
    tmp_path: Path, tiny_labelled_bundle: Path
) -> None:
    fleet = make_fleet(tmp_path, tiny_labelled_bundle, num=7, group_size=7)
    fleet.settings["u00"] = replace(fleet.settings["u00"], min_noise_multiplier=0.99)
    fleet.settings["u01"] = replace(fleet.settings["u01"], min_noise_multiplier=1.5)
    result = fleet.round(privacy=DISTRIBUTED, task=noised_task(fleet, DISTRIBUTED))
    assert dict(result.failed) == {"weak_noise": 1}
    assert result.num_contributors == 6


def noised_task(fleet: Fleet, options: PrivacyOptions) -> RoundTask:
    size = sum(value.size for value in fleet.task().shared.values())
    return fleet.task(device_noise=plan_noise(options, CLIPPING_NORM, size).device)


# --- fewer bytes ---------------------------------------------------------------------------------


def test_what_rounding_takes_is_carried_to_the_next_round(
    tmp_path: Path, tiny_labelled_bundle: Path
) -> None:
    fleet = make_fleet(tmp_path, tiny_labelled_bundle, value_bits=8, modulus_bits=16)
    fine = exact_sum(fleet, set(fleet.settings))
    first = fleet.round()
    error = np.abs(first.total - fine).max()
    assert 0 < error < 0.1 * CLIPPING_NORM * 4
    carried = {}
    for client, device in fleet.settings.items():
        with Personalizer(device.bundle, home=device.home) as personalizer:
            delta = personalizer.update(10 * CLIPPING_NORM).delta
        carried[client] = flatten(dict(delta)) - flatten(fleet.updates()[client])
    assert any(np.abs(one).max() > 0 for one in carried.values())


def test_what_is_carried_counts_only_where_the_update_did(
    tmp_path: Path, tiny_labelled_bundle: Path
) -> None:
    fleet = make_fleet(tmp_path, tiny_labelled_bundle, value_bits=8, modulus_bits=16)
    fleet.leaves = {"u00": int(Kind.TAGS)}
    plain = fleet.updates()
    fleet.round()
    after = fleet.updates()
    np.testing.assert_array_equal(flatten(after["u00"]), flatten(plain["u00"]))
    assert not np.array_equal(flatten(after["u01"]), flatten(plain["u01"]))
