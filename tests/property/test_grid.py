"""No rounding, whatever the update, breaks the bound that noise is scaled to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import (
    DtypeMismatchError,
    InvalidOptionError,
    ShapeMismatchError,
)
from edge_sdk.grid import Grid, flatten, unflatten
from edge_sdk.random_words import SeededWords
from edge_sdk.update import clip_to_norm

SHAPES = st.sampled_from(["dense", "one", "ties", "tiny", "zero"])


def clipped(seed: int, size: int, shape: str, norm: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = {
        "dense": rng.normal(size=size),
        "one": np.eye(1, size, seed % size)[0],
        "ties": np.full(size, 0.5),
        "tiny": rng.normal(size=size) * 1e-30,
        "zero": np.zeros(size),
    }[shape]
    return clip_to_norm({"x": (values * 1e3 * norm).astype(np.float32)}, norm)["x"]


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 300),
    shape=SHAPES,
    norm=st.floats(1e-6, 1e6),
    bits=st.integers(0, 22),
)
def test_integers_keep_the_bound(seed: int, size: int, shape: str, norm: float, bits: int) -> None:
    flat = clipped(seed, size, shape, norm)
    grid = Grid(clipping_norm=norm, steps_in_norm=1 << bits, size=size)
    inward = np.full(size, 7, np.int64)
    grid.add_toward_zero({"x": flat}, inward)
    inward -= 7
    assert int(inward @ inward) <= (1 << bits) ** 2
    assert (np.abs(inward * grid.step - flat) <= grid.step * (1 + 1e-6)).all()
    words = SeededWords(np.random.default_rng(seed))
    rounded = grid.stochastic(flat, words)
    assert int(rounded @ rounded) <= grid.stochastic_bound_squared
    assert (np.abs(rounded * grid.step - flat) <= grid.step * (1 + 1e-6)).all()


def test_stochastic_rounding_is_unbiased_where_the_bound_is_far() -> None:
    flat = np.full(10, 0.03, np.float32)
    grid = Grid(clipping_norm=1.0, steps_in_norm=16, size=10)
    words = SeededWords(np.random.default_rng(0))
    mean = np.mean([grid.stochastic(flat, words) for _ in range(4000)], axis=0) * grid.step
    np.testing.assert_allclose(mean, flat, atol=4 * grid.step * 0.5 / np.sqrt(4000))


def test_tensors_follow_each_other_by_name() -> None:
    grid = Grid(clipping_norm=5.0, steps_in_norm=5, size=3)
    total = np.zeros(3, np.int64)
    grid.add_toward_zero({"b": np.float32([-4]), "a": np.float32([[2.9, 0]])}, total)
    np.testing.assert_array_equal(total, [2, 0, -4])


@pytest.mark.parametrize("delta", [[0.0, np.nan], [0.0, np.inf], [0.0, 2.0], [0.0, 0.0, 0.0]])
def test_what_is_not_clipped_is_refused(delta: list[float]) -> None:
    grid = Grid(clipping_norm=1.0, steps_in_norm=16, size=2)
    total = np.zeros(2, np.int64)
    flat = np.array(delta, np.float32)
    with pytest.raises(InvalidOptionError):
        grid.add_toward_zero({"x": flat}, total)
    np.testing.assert_array_equal(total, 0)
    with pytest.raises(InvalidOptionError):
        grid.stochastic(flat, SeededWords(np.random.default_rng(0)))


@pytest.mark.parametrize("kind", ["int32", "strided", "list", "read-only"])
def test_a_sum_that_could_not_be_changed_in_place_is_refused(kind: str) -> None:
    grid = Grid(clipping_norm=1.0, steps_in_norm=16, size=2)
    frozen = np.zeros(2, np.int64)
    frozen.setflags(write=False)
    total: object = {
        "int32": np.zeros(2, np.int32),
        "strided": np.zeros(4, np.int64)[::2],
        "list": [0, 0],
        "read-only": frozen,
    }[kind]
    with pytest.raises((DtypeMismatchError, ShapeMismatchError)):
        grid.add_toward_zero({"x": np.zeros(2, np.float32)}, total)  # type: ignore[arg-type]


@given(sizes=st.lists(st.integers(0, 5), max_size=4))
def test_flat_and_back(sizes: list[int]) -> None:
    tensors = {f"t{i}": np.arange(s, dtype=np.float32).reshape(s, 1) for i, s in enumerate(sizes)}
    flat = flatten(tensors).astype(np.float64)
    back = unflatten(flat, {name: value.shape for name, value in tensors.items()})
    assert set(back) == set(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(back[name], value)
    with pytest.raises(InvalidOptionError):
        unflatten(np.zeros(len(flat) + 1), {name: value.shape for name, value in tensors.items()})
