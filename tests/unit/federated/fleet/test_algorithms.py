"""Algorithms on a bundle with a shared tensor, two slot tensors and counts."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk import Engine, State
from edge_sdk.errors import InvalidOptionError
from edge_sdk.update import joint_norm
from federated.fleet.algorithms import ALGORITHMS, make_algorithm
from federated.fleet.algorithms.base import Algorithm, Pupil
from federated.fleet.algorithms.ditto import Ditto
from federated.fleet.options import AlgorithmOptions
from tests.unit.federated.fleet.conftest import some_people

HEAD = ("weight", "bias")


def made(engine: Engine, name: str, **options: float) -> Algorithm:
    return make_algorithm(engine, AlgorithmOptions(name=name, **options), threads=2)


def pupils(engine: Engine, count: int = 3) -> list[Pupil]:
    people = some_people(engine, count, seed=4)
    return [
        Pupil(i, people.features[people.persons == i], people.slots[people.persons == i])
        for i in range(count)
    ]


def states(found: list[object]) -> list[State]:
    assert all(isinstance(state, State) for state in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_algorithm_sends_exactly_what_travels_clipped(
    gradient_engine: Engine, name: str
) -> None:
    algorithm = made(gradient_engine, name)
    shared = algorithm.shared()
    people = pupils(gradient_engine)
    found = states(algorithm.train(shared, people, None))
    start = algorithm.start(shared)
    for state in found:
        update = algorithm.update(start, state, clipping_norm=0.05)
        assert set(update.delta) == set(shared)
        assert 0 < joint_norm(update.delta) <= 0.05
    alone = states(made(gradient_engine, name).train(shared, people[1:2], None))
    assert alone[0] == found[1]  # a device's training does not depend on who else is there


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_whoever_personalizes_leaves_nothing_behind(gradient_engine: Engine, name: str) -> None:
    algorithm = made(gradient_engine, name)
    shared = algorithm.shared()
    new = [Pupil(-1, pupil.features, pupil.slots) for pupil in pupils(gradient_engine)]
    first = states(algorithm.personalize(shared, new, None))
    assert states(algorithm.personalize(shared, new, None)) == first
    assert (first[0] == algorithm.start(shared)) == (name == "fedavg-global")


def test_fedavg_is_what_a_device_does(gradient_engine: Engine) -> None:
    algorithm = made(gradient_engine, "fedavg")
    (pupil, *_) = people = pupils(gradient_engine)
    want = gradient_engine.adapt(pupil.features, pupil.slots, steps=2).state
    assert algorithm.train(algorithm.shared(), people, 2)[0] == want


def test_fedper_goes_on_from_the_head_it_kept_and_sends_the_rest(gradient_engine: Engine) -> None:
    algorithm = made(gradient_engine, "fedper")
    shared = algorithm.shared()
    assert set(shared) == {"mixing"}
    person = pupils(gradient_engine, 1)
    (first,) = states(algorithm.train(shared, person, 2))
    moved = {"mixing": shared["mixing"] + np.float32(0.25)}
    (second,) = states(algorithm.train(moved, person, 2))
    start = State.from_arrays(
        {name: moved.get(name, first[name]) for name in first.names}  # its head, the new rest
    )
    want = gradient_engine.adapt(person[0].features, person[0].slots, steps=2, start=start).state
    assert second == want


def test_fedrep_moves_the_head_alone_then_the_rest_alone(gradient_engine: Engine) -> None:
    algorithm = made(gradient_engine, "fedrep", head_steps=3)
    shared = algorithm.shared()
    (pupil,) = pupils(gradient_engine, 1)
    start = algorithm.start(shared)
    (only_head,) = states(algorithm.personalize(shared, [pupil], None))
    np.testing.assert_array_equal(only_head["mixing"], start["mixing"])
    assert np.any(only_head["weight"] != start["weight"])
    (found,) = states(algorithm.train(shared, [pupil], 1))
    for name in HEAD:
        np.testing.assert_array_equal(found[name], only_head[name])
    want = gradient_engine.adapt(pupil.features, pupil.slots, steps=1, start=only_head).state
    np.testing.assert_array_equal(found["mixing"], want["mixing"])


def test_ditto_is_a_regularized_step_and_sends_fedavgs_update(gradient_engine: Engine) -> None:
    algorithm = made(gradient_engine, "ditto", pull=0.25)
    assert isinstance(algorithm, Ditto)
    shared = algorithm.shared()
    (pupil,) = people = pupils(gradient_engine, 1)
    sent = algorithm.train(shared, people, 2)
    assert sent == made(gradient_engine, "fedavg").train(shared, people, 2)

    centre = algorithm.start(shared)
    v1 = gradient_engine.adapt(pupil.features, pupil.slots, steps=1).state
    step = gradient_engine.adapt(pupil.features, pupil.slots, steps=1, start=v1).state
    own = algorithm.personal_state(0)
    assert own is not None
    for name in ("mixing", *HEAD):
        want = step[name] - 0.25 * (v1[name] - centre[name])
        np.testing.assert_allclose(own[name], want, atol=1e-6)
    assert algorithm.personal_state(1) is None


def test_ditto_without_pull_is_local_training_and_with_all_of_it_stays_near(
    gradient_engine: Engine,
) -> None:
    person = pupils(gradient_engine, 1)
    shared = made(gradient_engine, "ditto").shared()
    free = states(made(gradient_engine, "ditto", pull=0.0).personalize(shared, person, 5))[0]
    want = gradient_engine.adapt(person[0].features, person[0].slots, steps=5).state
    np.testing.assert_allclose(free["weight"], want["weight"], atol=1e-6)
    near = states(made(gradient_engine, "ditto", pull=0.9).personalize(shared, person, 5))[0]
    start = made(gradient_engine, "ditto").start(shared)
    assert np.linalg.norm(near["weight"] - start["weight"]) < np.linalg.norm(
        free["weight"] - start["weight"]
    )


def test_what_does_not_fit_is_refused(
    gradient_engine: Engine, tiny_labelled_bundle: object
) -> None:
    closed_form = Engine(tiny_labelled_bundle)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="no algorithm is called 'x'"):
        made(gradient_engine, "x")
    with pytest.raises(InvalidOptionError, match="would share nothing"):
        made(closed_form, "fedper")  # prototypes are slots: there is no shared tensor
    with pytest.raises(InvalidOptionError, match="needs a gradient bundle"):
        made(closed_form, "ditto")


def test_one_users_bad_examples_are_that_users_alone(gradient_engine: Engine) -> None:
    algorithm = made(gradient_engine, "fedrep")
    people = pupils(gradient_engine)
    people[1] = Pupil(1, people[1].features[:0], people[1].slots[:0])
    found = algorithm.train(algorithm.shared(), people, None)
    assert getattr(found[1], "code", None) == "empty_support"
    assert isinstance(found[0], State)
    assert isinstance(found[2], State)
