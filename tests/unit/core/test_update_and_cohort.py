"""The bound norm, the rounding onto a grid, and the adaptation of many sets at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, State, _core, errors
from edge_sdk.engine import SupportSet

if TYPE_CHECKING:
    from pathlib import Path


def test_the_norm_is_that_of_all_tensors_together(rng: np.random.Generator) -> None:
    delta = {
        "a": rng.normal(size=(7, 13)).astype(np.float32),
        "b": rng.normal(size=1001).astype(np.float32),
        "c": np.array(2.5, np.float32),
        "d": np.empty(0, np.float32),
    }
    flat = np.concatenate([value.ravel() for value in delta.values()]).astype(np.float64)
    assert _core.joint_norm(delta) == pytest.approx(np.linalg.norm(flat), rel=1e-14)
    assert _core.joint_norm({}) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_norm_is_not_finite_iff_a_number_is_not(value: float) -> None:
    assert not math.isfinite(_core.joint_norm({"a": np.array([0, value], np.float32)}))
    assert math.isfinite(_core.joint_norm({"a": np.full(1000, 3e38, np.float32)}))


def test_scaled_numbers_are_rounded_towards_zero_subnormal_ones_too(
    rng: np.random.Generator,
) -> None:
    values = np.concatenate(
        [rng.normal(size=2000), rng.normal(size=2000) * 1e-38, [0.0, -0.0, 1e-45, -1e-45]]
    ).astype(np.float32)
    clipped, norm = _core.clip_update({"a": values}, 1.0)
    exact = values.astype(np.float64) * (1.0 / norm)
    got = clipped["a"].astype(np.float64)
    assert np.all(np.abs(got) <= np.abs(exact))
    outward = np.copysign(np.float32(np.inf), values)
    next_one = np.nextafter(clipped["a"], outward).astype(np.float64)
    assert np.all((np.abs(next_one) > np.abs(exact)) | (exact == got))
    assert _core.joint_norm(clipped) <= 1.0


def test_rounding_onto_a_grid_adds_all_or_nothing(rng: np.random.Generator) -> None:
    delta = {
        "a": rng.normal(size=(3, 5)).astype(np.float32),
        "b": rng.normal(size=7).astype(np.float32),
    }
    flat = np.concatenate([value.ravel() for value in delta.values()]).astype(np.float64)
    want = np.trunc(flat * 1000).astype(np.int64)
    total = np.ones(22, np.int64)
    squares = float(want @ want)
    assert not _core.add_rounded(total, delta, 1000.0, squares - 1)
    np.testing.assert_array_equal(total, 1)
    assert _core.add_rounded(total, delta, 1000.0, squares)
    np.testing.assert_array_equal(total, 1 + want)


@pytest.mark.parametrize(
    "total", [np.zeros(3, np.int64), np.zeros(8, np.int64)[::2], np.zeros(4, np.int32)]
)
def test_a_sum_that_could_not_be_changed_in_place_is_refused(total: np.ndarray) -> None:
    with pytest.raises((errors.ShapeMismatchError, errors.DtypeMismatchError)):
        _core.add_rounded(total, {"a": np.ones(4, np.float32)}, 1.0, 1e9)


def sets(engine: Engine, rng: np.random.Generator, count: int) -> list[SupportSet]:
    dim = engine.bundle.manifest.features.shape[0]
    return [
        SupportSet(rng.normal(size=(n, dim)).astype(np.float32), np.arange(n, dtype=np.int64) % 3)
        for n in rng.integers(1, 9, count)
    ]


def test_many_sets_have_the_bits_of_one_call_each(
    tiny_gradient_bundle: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_gradient_bundle)
    some = sets(engine, rng, 20)
    want = [engine.adapt(one.features, one.labels, steps=3).state for one in some]
    for threads in (1, 4):
        assert engine.adapt_many(some, steps=3, threads=threads) == want
    later = [
        SupportSet(one.features, one.labels, state) for one, state in zip(some, want, strict=True)
    ]
    assert engine.adapt_many(later, steps=2) == engine.adapt_many(some, steps=5)
    assert engine.adapt_many([]) == []


def test_one_bad_set_is_an_error_in_its_place(
    tiny_gradient_bundle: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_gradient_bundle)
    some = sets(engine, rng, 3)
    some[1] = SupportSet(some[1].features, np.full(len(some[1].labels), 99))
    found = engine.adapt_many(some, threads=2)
    assert isinstance(found[0], State)
    assert isinstance(found[1], errors.LabelRangeError)
    assert "99" not in str(found[1])
    assert isinstance(found[2], State)


def test_a_regression_takes_targets(tiny_regression_bundle: Path) -> None:
    engine = Engine(tiny_regression_bundle)
    shape = engine.bundle.manifest.features.shape
    features, targets = np.ones((4, *shape), np.float32), np.ones((4, 2), np.float32)
    (found,) = engine.adapt_many([SupportSet(features, targets)])
    assert found == engine.adapt(features, targets).state


def test_bad_arguments_are_refused_for_all(tiny_gradient_bundle: Path) -> None:
    engine = Engine(tiny_gradient_bundle)
    one = SupportSet(np.ones((1, 8)), np.zeros(1, np.int64))  # type: ignore[arg-type]
    with pytest.raises(errors.DtypeMismatchError):
        engine.adapt_many([one])
    for wrong in ({"threads": 0}, {"steps": 0}):
        with pytest.raises(errors.InvalidOptionError):
            engine.adapt_many([], **wrong)
