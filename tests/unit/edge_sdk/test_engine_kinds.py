"""Engine on bundles that read examples one by one, or learn values, against float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Engine, State, errors
from tests.support import tiny

if TYPE_CHECKING:
    from pathlib import Path

ATOL = 1e-5
SLOTS = np.array([0, 1, 2, 0, 1, 3], np.int64)
WEIGHTS = np.array([1, 1, 0.5, 1, 0, 2], np.float32)


def arrays_of(state: State) -> dict[str, Any]:
    return {name: state[name] for name in state.names}


@pytest.mark.parametrize("weights", [None, (WEIGHTS > 0).astype(np.float32)])
def test_sequential_agrees_with_float64(
    tiny_sequential_bundle: Path, rng: np.random.Generator, weights: Any
) -> None:
    engine = Engine(tiny_sequential_bundle)
    features = engine.embed(tiny.examples(rng, 6))
    got = engine.adapt(features, SLOTS, weights)
    used = np.ones(6) if weights is None else weights
    want, losses = tiny.recency_adapt(arrays_of(engine.initial_state()), features, SLOTS, used)
    for name, value in want.items():
        np.testing.assert_allclose(got.state[name], value, atol=ATOL)
    np.testing.assert_allclose(got.losses, losses, atol=ATOL)
    assert len(got.losses) == np.count_nonzero(used)


def test_sequential_examples_compose_and_their_order_counts(
    tiny_sequential_bundle: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_sequential_bundle)
    features = engine.embed(tiny.examples(rng, 6))
    whole = engine.adapt(features, SLOTS).state
    state = engine.initial_state()
    for i in range(6):
        state = engine.adapt(features[i : i + 1], SLOTS[i : i + 1], start=state).state
    assert state == whole
    assert engine.adapt(features[::-1], SLOTS[::-1]).state != whole


def test_an_example_of_weight_zero_is_not_there(
    tiny_sequential_bundle: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_sequential_bundle)
    features = engine.embed(tiny.examples(rng, 6))
    weights = np.array([1, 0, 1, 1, 0, 1], np.float32)
    kept = weights > 0
    skipped = engine.adapt(features, SLOTS, weights)
    absent = engine.adapt(features[kept], SLOTS[kept])
    assert skipped.state.to_bytes() == absent.state.to_bytes()
    np.testing.assert_array_equal(skipped.losses, absent.losses)


def test_a_sequential_bundle_takes_no_steps(tiny_sequential_bundle: Path) -> None:
    engine = Engine(tiny_sequential_bundle)
    with pytest.raises(errors.InvalidOptionError, match="steps must be 1 for a sequential bundle"):
        engine.adapt(np.zeros((1, 8), np.float32), np.zeros(1, np.int64), steps=2)


@pytest.mark.parametrize("steps", [None, 1, 4])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_regression_agrees_with_float64(
    tiny_regression_bundle: Path, rng: np.random.Generator, steps: int | None, weights: Any
) -> None:
    engine = Engine(tiny_regression_bundle)
    features = engine.embed(tiny.examples(rng, 6))
    targets = rng.normal(size=(6, tiny.OUTPUTS)).astype(np.float32)
    got = engine.adapt(features, targets, weights, steps)
    used = np.ones(6) if weights is None else weights
    start = arrays_of(engine.initial_state())
    want, losses = tiny.regression_adapt(start, features, targets, used, steps=steps or 3)
    for name, value in want.items():
        np.testing.assert_allclose(got.state[name], value, atol=ATOL)
    np.testing.assert_allclose(got.losses, losses, atol=ATOL)
    found = engine.predict_values(features, got.state)
    mean, variance = tiny.regression_values(want, features)
    np.testing.assert_allclose(found.mean, mean, atol=ATOL)
    np.testing.assert_allclose(found.variance, variance, atol=ATOL)


def test_labels_and_values_are_not_confused(
    tiny_regression_bundle: Path, tiny_bundle: Path
) -> None:
    values, labels = Engine(tiny_regression_bundle), Engine(tiny_bundle)
    features = np.ones((2, 8), np.float32)
    with pytest.raises(errors.DtypeMismatchError, match=r"targets must be .* float32"):
        values.adapt(features, np.zeros(2, np.int64))
    with pytest.raises(errors.DtypeMismatchError, match=r"labels must be .* int64"):
        labels.adapt(features, np.zeros((2, 2), np.float32))
    for wrong in (np.zeros(2, np.float32), np.zeros((3, 2), np.float32)):
        with pytest.raises(errors.ShapeMismatchError, match=r"targets must have shape \[2, 2\]"):
            values.adapt(features, wrong)
    with pytest.raises(errors.NonFiniteError, match="targets hold NaN"):
        values.adapt(features, np.full((2, 2), np.nan, np.float32))
    with pytest.raises(errors.InvalidOptionError, match=r"use predict_values\(\)"):
        values.predict(features, values.initial_state())
    with pytest.raises(errors.InvalidOptionError, match=r"use predict\(\)"):
        labels.predict_values(features, labels.initial_state())
    assert labels.predict(features, labels.initial_state()).variance is None
    with pytest.raises(errors.InvalidOptionError, match=r"use predict\(\)"):
        labels.embed_and_predict_values(
            np.ones((1, *tiny.INPUT_SHAPE), np.float32), labels.initial_state()
        )
