from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from edge_sdk.update import ModelUpdate, joint_norm
from federated.fleet.algorithms import make_algorithm
from federated.fleet.attacks import poison_labels, tamper
from federated.fleet.options import AlgorithmOptions, AttackOptions, PopulationOptions
from federated.fleet.scoring import after_teaching, before_teaching
from federated.fleet.users import FleetData
from federated.scores import score
from tests.unit.federated.fleet.conftest import some_data, some_people

if TYPE_CHECKING:
    from edge_sdk import Engine


def test_a_device_holds_examples_of_one_person(gradient_engine: Engine) -> None:
    options = PopulationOptions(devices=20, examples=7)
    data = some_data(gradient_engine, options)
    people = some_people(gradient_engine, 8, 1)
    whose = {people.features[i].tobytes(): int(people.persons[i]) for i in range(len(people.slots))}
    owners = []
    for device in range(20):
        held = data.examples(device)
        (owner,) = {whose[row.tobytes()] for row in held.features}
        owners.append(owner)
        assert len(held.slots) == 7 == data.counts[device]
        assert len({row.tobytes() for row in held.features}) == 7
    assert owners == [device % 8 for device in range(20)]
    assert len(data) == 20


def test_a_small_alpha_skews_labels_and_a_large_one_does_not(gradient_engine: Engine) -> None:
    def spread(alpha: float) -> float:
        options = PopulationOptions(devices=100, examples=12, partition="dirichlet", alpha=alpha)
        data = some_data(gradient_engine, options)
        shares = [np.bincount(data.examples(i).slots, minlength=3) / 12 for i in range(100)]
        return float(np.mean(np.max(shares, axis=1)))

    assert spread(0.05) > 0.85
    assert spread(100.0) < 0.55


def test_held_out_people_are_on_no_device_and_are_asked_what_they_did_not_teach(
    gradient_engine: Engine,
) -> None:
    data = some_data(gradient_engine, PopulationOptions(devices=30, examples=100, shots=2))
    on_devices = {row.tobytes() for i in range(30) for row in data.examples(i).features}
    assert len(data.held_out) == 6
    for person in data.held_out:
        taught = {row.tobytes() for row in person.taught.features}
        asked = {row.tobytes() for row in person.asked.features}
        assert not taught & asked
        assert not (taught | asked) & on_devices
        assert np.bincount(person.taught.slots).tolist() == [2, 2, 2]
        assert np.bincount(person.asked.slots).tolist() == [4, 4, 4]


def test_too_many_shots_leave_nobody_to_measure(gradient_engine: Engine) -> None:
    with pytest.raises(InvalidOptionError, match="lower shots"):
        some_data(gradient_engine, PopulationOptions(shots=6))


def test_without_shots_people_are_asked_all_they_have_and_taught_nothing(
    gradient_engine: Engine,
) -> None:
    data = some_data(gradient_engine, PopulationOptions(devices=8, shots=0))
    assert all(len(person.taught.slots) == 0 for person in data.held_out)
    assert all(np.bincount(person.asked.slots).tolist() == [6, 6, 6] for person in data.held_out)
    algorithm = make_algorithm(gradient_engine, AlgorithmOptions(), threads=1)
    shared = algorithm.shared()
    np.testing.assert_array_equal(
        after_teaching(algorithm, shared, data.held_out),
        before_teaching(algorithm, shared, data.held_out),
    )


def test_the_same_seed_deals_the_same(gradient_engine: Engine) -> None:
    people = some_people(gradient_engine, 8, 1)
    held_out = some_people(gradient_engine, 6, 2)
    options = PopulationOptions(devices=10, examples=4)

    def dealt(seed: int) -> bytes:
        data = FleetData(people, held_out, options, seed)
        return b"".join(data.examples(i).features.tobytes() for i in range(10))

    assert dealt(1) == dealt(1)
    assert dealt(1) != dealt(2)


UPDATE = ModelUpdate(
    "digest",
    {"a": np.array([3.0, 0.0], np.float32), "b": np.array([[4.0]], np.float32)},
)


def test_a_sign_flip_is_the_opposite_boosted() -> None:
    sent = tamper(AttackOptions(kind="sign-flip", boost=2.0), UPDATE, 0, 1)
    np.testing.assert_array_equal(sent.delta["a"], [-6.0, 0.0])
    assert sent.bundle_digest == "digest"


def test_boosted_attackers_of_a_round_push_together_as_far_as_they_say() -> None:
    options = AttackOptions(kind="boosted", boost=10.0)
    first, second, later = (tamper(options, UPDATE, 0, event) for event in (1, 1, 2))
    np.testing.assert_array_equal(first.delta["a"], second.delta["a"])
    assert np.any(first.delta["a"] != later.delta["a"])
    assert joint_norm(first.delta) == pytest.approx(50.0, rel=1e-5)


def test_a_label_flipper_moves_labels_and_sends_what_it_learned() -> None:
    options = AttackOptions(kind="label-flip")
    slots = np.array([0, 1, 2])
    np.testing.assert_array_equal(poison_labels(options, slots, 3), [1, 2, 0])
    assert tamper(options, UPDATE, 0, 1) is UPDATE
    np.testing.assert_array_equal(poison_labels(AttackOptions(kind="boosted"), slots, 3), slots)


def test_the_worst_decile_is_the_mean_of_the_worst_off() -> None:
    found = score(np.arange(40) / 100)
    assert found.worst_decile == pytest.approx((0 + 0.01 + 0.02 + 0.03) / 4)
    assert (found.mean, found.people) == (pytest.approx(0.195), 40)
    assert score([0.5, 0.25]).worst_decile == 0.25
