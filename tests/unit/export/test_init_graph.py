"""init.onnx: exact in 32 bits, close in fewer, and the same bytes every time."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from edge_sdk.errors import InvalidOptionError, NonFiniteError
from export.init_graph import init_graph, quantize_rows


def run(graph: bytes) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {})]


def make_state(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "conv.weight": rng.normal(size=(8, 4, 3, 3)).astype(np.float32),
        "bias": rng.normal(size=8).astype(np.float32),
        "zeros": np.zeros((4, 16), np.float32),
        "one": np.float32([2.5]),
        "scalar": np.array(0.5, np.float32),
        "strided": rng.normal(size=(3, 6)).astype(np.float32).T,
    }


def test_float32_is_exact_and_in_order(rng: np.random.Generator) -> None:
    state = make_state(rng)
    for want, got in zip(state.values(), run(init_graph(state, "float32")), strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.dtype == np.float32
        assert got.shape == want.shape


def test_float16_rounds(rng: np.random.Generator) -> None:
    state = make_state(rng)
    for want, got in zip(state.values(), run(init_graph(state, "float16")), strict=True):
        half = want.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(got, half if want.ndim > 1 and want.size >= 64 else want)


def test_int8_is_within_half_a_step_of_each_row(rng: np.random.Generator) -> None:
    state = make_state(rng)
    got = dict(zip(state, run(init_graph(state, "int8")), strict=True))
    weight = state["conv.weight"]
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    assert (np.abs(got["conv.weight"] - weight) <= step / 2 * (1 + 1e-5)).all()
    np.testing.assert_array_equal(got["bias"], state["bias"])  # small tensors stay exact


def test_a_small_count_does_not_round_to_zero() -> None:
    counts = np.float32([1e-9, 0, 0])
    for encoding in ("float16", "int8"):
        np.testing.assert_array_equal(run(init_graph({"counts": counts}, encoding))[0], counts)


def test_fewer_bits_are_fewer_bytes_and_constants_cost_nothing(rng: np.random.Generator) -> None:
    state = {"w": rng.normal(size=(64, 64)).astype(np.float32)}
    sizes = [len(init_graph(state, encoding)) for encoding in ("float32", "float16", "int8")]
    assert sizes[0] > 1.9 * sizes[1]
    assert sizes[1] > 1.8 * sizes[2]
    assert len(init_graph({"w": np.zeros((64, 64), np.float32)}, "float32")) < 400


def test_a_negative_zero_survives() -> None:
    state = {"mixed": np.float32([[0.0, -0.0]]), "all": np.float32([[-0.0, -0.0]])}
    for want, got in zip(state.values(), run(init_graph(state, "float32")), strict=True):
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


def test_same_state_same_bytes(rng: np.random.Generator) -> None:
    state = make_state(rng)
    assert init_graph(state, "int8") == init_graph(dict(state), "int8")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_numbers_are_refused(bad: float) -> None:
    with pytest.raises(NonFiniteError, match="state tensor w is not finite"):
        init_graph({"w": np.float32([1, bad])}, "float32")


def test_numbers_too_large_for_16_bits_are_refused() -> None:
    with pytest.raises(NonFiniteError, match="does not fit into 16 bits; use float32"):
        init_graph({"w": np.full((8, 8), 1e6, np.float32) + np.eye(8, dtype=np.float32)}, "float16")


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="float32, float16, int8"):
        init_graph({"w": np.float32([1])}, "int4")  # type: ignore[arg-type]


def test_a_row_of_zeros_has_scale_one() -> None:
    quantized, scale = quantize_rows(np.float32([[0, 0], [1, -2]]))
    np.testing.assert_array_equal(scale, np.float32([1, 2 / 127]))
    np.testing.assert_array_equal(quantized, [[0, 0], [64, -127]])
