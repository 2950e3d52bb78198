"""Laws of the clip, over random updates."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_sdk.update import clip_to_norm, joint_norm

Delta = dict[str, np.ndarray]

# Squares up to 1e76 and sums of some hundred of them stay far inside float64.
NUMBERS = st.floats(-(2.0**127), 2.0**127, width=32, allow_subnormal=True)


def deltas() -> st.SearchStrategy[Delta]:
    arrays = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_side=5), elements=NUMBERS)
    return st.dictionaries(st.sampled_from("abcd"), arrays, max_size=4)


@given(delta=deltas(), bound=st.floats(1e-30, 1e30))
def test_clipping_bounds_the_joint_norm(delta: Delta, bound: float) -> None:
    assert joint_norm(clip_to_norm(delta, clipping_norm=bound)) <= bound * (1 + 1e-5)


@given(delta=deltas(), bound=st.floats(1e-3, 1e3))
def test_clipping_only_ever_shrinks_and_keeps_signs(delta: Delta, bound: float) -> None:
    got = clip_to_norm(delta, clipping_norm=bound)
    assert set(got) == set(delta)
    for name, values in delta.items():
        assert got[name].shape == values.shape
        assert got[name].dtype == np.float32
        assert (np.abs(got[name]) <= np.abs(values)).all()
        assert (got[name] * np.sign(values) >= 0).all()


@given(delta=deltas(), bound=st.floats(1e-3, 1e3))
def test_clipping_twice_is_clipping_once(delta: Delta, bound: float) -> None:
    once = clip_to_norm(delta, clipping_norm=bound)
    twice = clip_to_norm(once, clipping_norm=bound)
    for name, values in once.items():
        np.testing.assert_array_equal(twice[name], values)


@given(delta=deltas(), bound=st.floats(1e-3, 1e3))
def test_clipping_keeps_the_direction(delta: Delta, bound: float) -> None:
    norm = joint_norm(delta)
    got = clip_to_norm(delta, clipping_norm=bound)
    scale = min(1.0, bound / norm) if norm else 1.0
    for name, values in delta.items():
        # one rounding to float32, and the smallest float32 for what underflows
        want = values.astype(np.float64) * scale
        np.testing.assert_allclose(got[name], want, rtol=2.0**-23, atol=2.0**-149)
