from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import BadUpdateError, EmptySupportError
from edge_sdk.update import joint_norm
from federated.local_round import local_round, round_start, shared_tensors

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def engine(tiny_labelled_bundle: Path) -> Engine:
    return Engine(open_bundle(tiny_labelled_bundle))


def support(engine: Engine, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=(6, *engine.bundle.manifest.input.shape)).astype(np.float32)
    return engine.embed(x), np.array([0, 1, 0, 1, 0, 1], np.int64)


def test_only_what_may_be_shared_is_taken_and_only_as_a_copy(engine: Engine) -> None:
    initial = engine.initial_state()
    shared = shared_tensors(engine.bundle, initial)
    assert sorted(shared) == ["prototypes"]  # counts are personal
    shared["prototypes"][:] = 7
    assert not np.any(initial["prototypes"] == 7)


def test_a_round_starts_from_the_shared_tensors_and_the_bundles_personal_ones(
    engine: Engine,
) -> None:
    initial = engine.initial_state()
    moved = {"prototypes": initial["prototypes"] + np.float32(1)}
    start = round_start(engine.bundle, initial, moved)
    np.testing.assert_array_equal(start["prototypes"][:2], moved["prototypes"][:2])
    np.testing.assert_array_equal(start["counts"], initial["counts"])
    assert start.names == initial.names


def test_no_round_moves_what_a_users_own_labels_start_from(engine: Engine) -> None:
    assert len(engine.bundle.manifest.labels) == 2
    initial = engine.initial_state()
    moved = {"prototypes": initial["prototypes"] + np.float32(1)}
    start = round_start(engine.bundle, initial, moved)
    np.testing.assert_array_equal(start["prototypes"][2:], initial["prototypes"][2:])


@pytest.mark.parametrize("damage", ["missing", "personal", "shape", "dtype", "nan"])
def test_shared_tensors_that_do_not_fit_are_refused(engine: Engine, damage: str) -> None:
    initial = engine.initial_state()
    good = np.array(initial["prototypes"])
    bad = {
        "missing": {},
        "personal": {"prototypes": good, "counts": np.array(initial["counts"])},
        "shape": {"prototypes": good[:1]},
        "dtype": {"prototypes": good.astype(np.float64)},
        "nan": {"prototypes": np.full_like(good, np.nan)},
    }[damage]
    with pytest.raises(BadUpdateError):
        round_start(engine.bundle, initial, bad)


def test_the_update_is_the_clipped_difference_to_the_rounds_start(
    engine: Engine, rng: np.random.Generator
) -> None:
    features, slots = support(engine, rng)
    initial = engine.initial_state()
    start = round_start(
        engine.bundle, initial, {"prototypes": initial["prototypes"] + np.float32(1)}
    )
    loose = local_round(engine, start, features, slots, clipping_norm=1e6)
    # the closed form: p' = (c * p + sum of features) / (c + n)
    count = start["counts"][0]
    mean = (count * start["prototypes"][0] + features[slots == 0].sum(0)) / (count + 3)
    np.testing.assert_allclose(
        loose.delta["prototypes"][0], mean - start["prototypes"][0], atol=1e-5
    )
    assert loose.bundle_digest == engine.bundle.digest

    tight = local_round(engine, start, features, slots, clipping_norm=0.25)
    assert joint_norm(tight.delta) == pytest.approx(0.25, rel=1e-5)
    assert joint_norm(tight.delta) <= 0.25


def test_a_device_with_nothing_taught_takes_no_part(engine: Engine) -> None:
    features = np.zeros((0, *engine.bundle.manifest.features.shape), np.float32)
    with pytest.raises(EmptySupportError):
        local_round(
            engine, engine.initial_state(), features, np.zeros(0, np.int64), clipping_norm=1.0
        )
