"""The array gate refuses what does not fit, casts nothing, and shows no value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, arrays
from edge_sdk.errors import (
    DtypeMismatchError,
    LabelRangeError,
    NonFiniteError,
    ShapeMismatchError,
)

if TYPE_CHECKING:
    from pathlib import Path

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_good_rows_pass_without_a_copy() -> None:
    assert arrays.as_rows(ROWS, shape=(4,), name="x") is ROWS


def test_a_masked_array_is_refused_everywhere(tiny_bundle: Path) -> None:
    """What it hides must not be used."""
    masked = np.ma.masked_array(ROWS, mask=ROWS > 3)
    with pytest.raises(DtypeMismatchError, match="masked"):
        arrays.as_rows(masked, shape=(4,), name="x")
    engine = Engine(tiny_bundle)
    for call in (
        lambda: engine.embed(np.ma.masked_array(np.ones((2, 1, 4, 4), np.float32), mask=True)),
        lambda: engine.adapt(
            np.ones((2, 8), np.float32), np.ma.masked_array(np.array([0, 1]), mask=[0, 1])
        ),
    ):
        with pytest.raises(DtypeMismatchError, match="got a MaskedArray"):
            call()
    mapped = np.ones((2, 8), np.float32).view(np.memmap)
    assert engine.predict(mapped, engine.initial_state()).logits.shape == (2, 4)


def test_a_strided_view_becomes_dense_with_the_same_values() -> None:
    view = np.arange(24, dtype=np.float32).reshape(3, 8)[:, ::2]
    got = arrays.as_rows(view, shape=(4,), name="x")
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, view)


@pytest.mark.parametrize(
    "x", [ROWS.astype(np.float64), ROWS.astype(np.float16), ROWS.astype(">f4"), ROWS > 1,
          ROWS.tolist(), None, "text", 1.0],
)  # fmt: skip
def test_other_dtypes_are_refused_not_cast(x: object) -> None:
    with pytest.raises(DtypeMismatchError, match="x must be"):
        arrays.as_rows(x, shape=(4,), name="x")


@pytest.mark.parametrize("shape", [(4,), (3, 5), (3, 4, 1), ()])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeMismatchError, match=r"x must have shape \[n, 4\]"):
        arrays.as_rows(np.zeros(shape, np.float32), shape=(4,), name="x")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_naming_the_row(value: float) -> None:
    bad = ROWS.copy()
    bad[1, 2] = value
    with pytest.raises(NonFiniteError, match="row 1"):
        arrays.as_rows(bad, shape=(4,), name="x")


def test_one_example_is_a_batch_of_one() -> None:
    got = arrays.as_examples(ROWS, shape=(3, 4), name="x")
    assert got.shape == (1, 3, 4)


def test_no_example_is_refused() -> None:
    with pytest.raises(ShapeMismatchError, match="at least one"):
        arrays.as_examples(np.zeros((0, 4), np.float32), shape=(4,), name="x")


def test_slots_are_checked_and_their_values_not_shown() -> None:
    good = np.array([0, 3], np.int64)
    assert arrays.as_slots(good, num_rows=2, ways=4, name="labels") is good
    for bad in (4, -1, 123456):
        with pytest.raises(LabelRangeError) as caught:
            arrays.as_slots(np.array([0, bad], np.int64), num_rows=2, ways=4, name="labels")
        assert str(caught.value) == "labels[1] is outside 0..3"
    with pytest.raises(DtypeMismatchError):
        arrays.as_slots(good.astype(np.int32), num_rows=2, ways=4, name="labels")
    with pytest.raises(ShapeMismatchError):
        arrays.as_slots(good, num_rows=3, ways=4, name="labels")
