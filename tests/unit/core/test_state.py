"""State: copies in, read-only views out, and an exact byte round trip."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from edge_sdk._core import State
from edge_sdk.errors import BadStateError, DtypeMismatchError

Tensors = dict[str, NDArray[np.float32]]

names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)
arrays = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=0, max_dims=4, max_side=4),
    elements=st.floats(width=32),  # NaN and infinities too
)
tensor_dicts = st.dictionaries(names, arrays, min_size=1, max_size=5)


def example() -> State:
    return State.from_arrays(
        {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "rate": np.array(0.5, np.float32)}
    )


@given(tensors=tensor_dicts)
def test_arrays_and_bytes_round_trip_bit_for_bit(tensors: Tensors) -> None:
    state = State.from_arrays(tensors)
    data = state.to_bytes()
    again = State.from_bytes(data)
    assert again == state
    assert again.to_bytes() == data
    assert state.names == tuple(tensors)
    for name, want in tensors.items():
        assert again[name].shape == want.shape
        assert again[name].tobytes() == want.tobytes()


@given(tensors=tensor_dicts, data=st.data())
def test_a_changed_byte_is_refused(tensors: Tensors, data: st.DataObject) -> None:
    good = State.from_arrays(tensors).to_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.integers(1, 255))
    damaged = good[:at] + bytes([good[at] ^ other]) + good[at + 1 :]
    with pytest.raises(BadStateError):
        State.from_bytes(damaged)


@given(tensors=tensor_dicts, data=st.data())
def test_a_lost_tail_is_refused(tensors: Tensors, data: st.DataObject) -> None:
    good = State.from_arrays(tensors).to_bytes()
    with pytest.raises(BadStateError):
        State.from_bytes(good[: data.draw(st.integers(0, len(good) - 1))])


@given(data=st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadStateError):
        State.from_bytes(data)


@given(tensors=tensor_dicts, data=st.data())
def test_equality_means_the_same_bits(tensors: Tensors, data: st.DataObject) -> None:
    state = State.from_arrays(tensors)
    assert state == State.from_arrays(tensors)
    name = data.draw(st.sampled_from(sorted(tensors)))
    changed = tensors[name].copy()
    at = data.draw(st.integers(0, changed.size - 1))
    changed.reshape(-1).view(np.uint32)[at] ^= np.uint32(1) << np.uint32(
        data.draw(st.integers(0, 31))
    )
    assert state != State.from_arrays({**tensors, name: changed})


def test_equality_sees_names_and_order() -> None:
    one, two = np.ones(2, np.float32), np.full(2, 2, np.float32)
    state = State.from_arrays({"a": one, "b": two})
    assert state != State.from_arrays({"b": two, "a": one})
    assert state != State.from_arrays({"a": one, "c": two})
    assert state != State.from_arrays({"a": one.reshape(2, 1), "b": two})
    assert state != {"a": one, "b": two}


def test_a_state_cannot_be_hashed_or_subclassed() -> None:
    with pytest.raises(TypeError):
        hash(example())
    with pytest.raises(TypeError):
        type("Sub", (State,), {})


def test_arrays_are_copied_in() -> None:
    w = np.ones((2, 2), np.float32)
    state = State.from_arrays({"w": w})
    w[:] = 7
    assert state["w"].tolist() == [[1, 1], [1, 1]]


def test_strided_arrays_keep_their_meaning() -> None:
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    state = State.from_arrays({"t": w.T, "every_other": w[:, ::2], "fortran": np.asfortranarray(w)})
    assert np.array_equal(state["t"], w.T)
    assert np.array_equal(state["every_other"], w[:, ::2])
    assert np.array_equal(state["fortran"], w)


def test_views_are_read_only_and_share_the_memory() -> None:
    state = example()
    view = state["w"]
    assert not view.flags.writeable
    assert not view.flags.owndata
    assert view.__array_interface__["data"][0] == state["w"].__array_interface__["data"][0]
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.setflags(write=True)


def test_a_view_outlives_the_name_of_its_state() -> None:
    view = example()["w"]
    owner: object = view.base
    assert isinstance(owner, State)
    gc.collect()
    assert view.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_names_are_looked_up() -> None:
    state = example()
    assert state.names == ("w", "rate")
    assert len(state) == 2
    assert "w" in state
    assert "nothing" not in state
    assert 3 not in state
    assert state["rate"].shape == ()
    with pytest.raises(KeyError, match="nothing"):
        state["nothing"]


def test_pickles() -> None:
    assert pickle.loads(pickle.dumps(example())) == example()  # noqa: S301 (our own bytes)


def test_repr_shows_shapes_not_values() -> None:
    assert repr(example()) == "State(w [2, 3], rate [])"


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({}, "1 to 4096 tensors"),
        ({"": np.ones(1, np.float32)}, "printable"),
        ({"two words": np.ones(1, np.float32)}, "printable"),
        ({"caf\N{LATIN SMALL LETTER E WITH ACUTE}": np.ones(1, np.float32)}, "printable"),
        ({"w": np.ones((2, 0), np.float32)}, "every axis must be >= 1"),
        ({"w": np.ones((1,) * 9, np.float32)}, "more than 8 axes"),
    ],
    ids=["empty", "no name", "space", "not ascii", "no elements", "rank 9"],
)
def test_what_cannot_be_a_state_is_refused(tensors: Tensors, text: str) -> None:
    with pytest.raises(BadStateError, match=text):
        State.from_arrays(tensors)


@pytest.mark.parametrize(
    "value",
    [
        np.array([123456.0]),
        np.array([123456], np.int32),
        np.array([123456], ">f4"),
        np.array(["123456"]),
        [123456.0],
        123456.0,
        None,
    ],
    ids=["float64", "int32", "big-endian", "text", "list", "float", "none"],
)
def test_other_dtypes_are_refused_without_showing_them(value: Any) -> None:
    with pytest.raises(DtypeMismatchError, match="tensor w must be") as caught:
        State.from_arrays({"w": value})
    assert "123456" not in str(caught.value)


@pytest.mark.parametrize("value", [bytearray(b"secret"), "secret", ["secret"], None])
def test_other_types_than_bytes_are_refused_without_showing_them(value: Any) -> None:
    with pytest.raises(DtypeMismatchError, match="data must be bytes, got") as caught:
        State.from_bytes(value)
    assert "secret" not in str(caught.value)


def test_a_name_that_is_no_str_is_refused_without_showing_it() -> None:
    with pytest.raises(DtypeMismatchError, match="must be a str, got ndarray") as caught:
        example()[np.array([123456.0])]  # type: ignore[index]
    assert "123456" not in str(caught.value)


def test_tensors_must_be_named_in_a_dict() -> None:
    with pytest.raises(DtypeMismatchError, match="must be a dict"):
        State.from_arrays([np.ones(1, np.float32)])  # type: ignore[arg-type]
    with pytest.raises(DtypeMismatchError, match="names must be str"):
        State.from_arrays({1: np.ones(1, np.float32)})  # type: ignore[dict-item]


def test_states_are_freed() -> None:
    owner = np.ones(3, np.float32)
    gone = weakref.ref(owner)
    state = State.from_arrays({"w": owner})
    del owner
    gc.collect()
    assert gone() is None  # nothing of the caller's is kept
    assert state["w"].tolist() == [1, 1, 1]
