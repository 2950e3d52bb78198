from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_sdk import Engine, errors
from edge_sdk.guardrail import judge
from edge_sdk.store_rows import Example
from edge_sdk.taught_values import RowShape
from edge_sdk.value_answers import Yardstick
from tests.support import tiny

VALUES = np.array([[0, 10], [1, 30], [5, 20]], np.float32)


def test_right_is_nearer_than_the_mean_of_the_others() -> None:
    yardstick = Yardstick.of(VALUES)
    spread = VALUES.astype(np.float64).var(axis=0)
    others = np.array([[3, 25], [2.5, 15], [0.5, 20]])
    usual = ((others - VALUES) ** 2 / spread).sum(axis=1)
    np.testing.assert_allclose(yardstick.usual, usual)

    exact = yardstick.answers(VALUES)
    assert exact.right.all()
    np.testing.assert_array_equal(exact.probability, 1.0)
    as_usual = yardstick.answers(others.astype(np.float32))
    assert not as_usual.right.any()
    np.testing.assert_allclose(as_usual.probability, 0.5)
    assert not as_usual.largest.any()
    worse = yardstick.answers(VALUES + 100)
    assert not worse.right.any()
    assert (worse.probability < 0.5).all()


def test_the_unit_of_an_output_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 2)).astype(np.float32)
    found = (values + rng.normal(0, 1, values.shape)).astype(np.float32)
    unit = np.array([1024, 1], np.float32)  # exact in float32
    plain, scaled = (
        Yardstick.of(v).answers(f) for v, f in ((values, found), (values * unit, found * unit))
    )
    np.testing.assert_array_equal(plain.right, scaled.right)
    np.testing.assert_allclose(plain.probability, scaled.probability)


def test_some_rows_keep_the_yardstick_of_all() -> None:
    which = np.array([True, False, True])
    part = Yardstick.of(VALUES).rows(which)
    np.testing.assert_array_equal(part.usual, Yardstick.of(VALUES).usual[which])
    assert len(part.answers(VALUES[which]).right) == 2


@pytest.mark.parametrize("values", [np.ones((1, 2)), np.zeros((1, 2)), np.ones((4, 2))])
def test_values_without_spread_are_measured_as_they_are(values: Any) -> None:
    answers = Yardstick.of(values.astype(np.float32)).answers(values.astype(np.float32))
    assert np.isfinite(answers.probability).all()


def test_rows_of_features_and_values_come_apart_again() -> None:
    shape = RowShape((2, 3), 2)
    assert shape.stored == (8,)
    features = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    values = np.array([[0.1, -1], [2, 3e30]], np.float32)
    examples, found = shape.split((Example(4, ""), Example(9, "")), shape.join(features, values))
    np.testing.assert_array_equal(found, features)
    assert [example.id for example in examples] == [4, 9]
    np.testing.assert_array_equal(np.array([e.value for e in examples], np.float32), values)
    labelled = RowShape((2, 3), 0)
    assert labelled.stored == (2, 3)
    assert labelled.split((Example(4, "a"),), features) == ((Example(4, "a"),), features)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (np.zeros((2, 2), np.float32), errors.ShapeMismatchError),
        (np.zeros((3, 1), np.float32), errors.ShapeMismatchError),
        (np.zeros(3, np.int64), errors.DtypeMismatchError),
        (np.full((3, 2), np.nan, np.float32), errors.NonFiniteError),
    ],
)
def test_the_guardrail_refuses_what_are_no_values(
    tiny_regression_bundle: Any, values: Any, error: type[Exception]
) -> None:
    engine = Engine(tiny_regression_bundle)
    features = engine.embed(tiny.examples(np.random.default_rng(0), 3))
    with pytest.raises(error):
        judge(engine, features, values, engine.initial_state())
