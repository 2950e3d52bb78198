"""Weights in fewer bits: the graph computes with exactly what the encoding says, and is smaller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from edge_sdk._core import check_graph
from edge_sdk.errors import InvalidOptionError, NonFiniteError
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from export.onnx_bytes import IR_VERSION, OPSET
from export.stored_weights import (
    NF4_LEVELS,
    WeightEncoding,
    bind,
    encode,
    holds_weights,
    large_weights,
    rounded,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENCODINGS: list[WeightEncoding] = ["float32", "float16", "int8", "nf4"]
ROWS, COLUMNS = 48, 33  # not a multiple of the block


def graph_of(weights: NDArray[np.float32]) -> bytes:
    """`y = x @ weights`, with a second weight that no node reads."""
    rows, columns = weights.shape
    inputs = {"x": ["n", rows], "weights.a.b": [rows, columns], "weights.unread": [rows, columns]}
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "weights.a.b"], ["y"])],
            "graph",
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", columns])],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    bind(model, {"a.b": weights, "unread": weights})
    return bytes(model.SerializeToString())


def decoded(graph: bytes, rows: int) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph)
    result: NDArray[np.float32] = session.run(None, {"x": np.eye(rows, dtype=np.float32)})[0]
    return result


@pytest.fixture
def weights() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(np.float32)


class One(torch.nn.Module):
    def __init__(self, weights: NDArray[np.float32]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(weights.copy()))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_graph_computes_with_the_rounded_weights_to_the_bit(
    weights: NDArray[np.float32], encoding: WeightEncoding
) -> None:
    graph = encode(graph_of(weights), encoding)
    check_graph("adapt.onnx", graph)  # a device accepts it
    model = rounded(One(weights), encoding)
    np.testing.assert_array_equal(decoded(graph, ROWS), model.weight.detach().numpy())


def test_fewer_bits_are_fewer_bytes() -> None:
    weights = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    sizes = [len(encode(graph_of(weights), encoding)) for encoding in ENCODINGS]
    bits = [8 * size / weights.size for size in sizes]
    assert bits == pytest.approx([32, 16, 8.25, 4.25], rel=0.03)


@pytest.mark.parametrize(("encoding", "limit"), [("float16", 5e-4), ("int8", 5e-3), ("nf4", 0.16)])
def test_no_weight_moves_further_than_half_a_step(
    weights: NDArray[np.float32], encoding: WeightEncoding, limit: float
) -> None:
    # NF4's widest step is 0.304 of a block's largest weight, int8's 1 / 127, of 16 bits 2^-10
    gap = np.abs(decoded(encode(graph_of(weights), encoding), ROWS) - weights)
    assert 0 < gap.max() <= limit * np.abs(weights).max()


def test_nf4_has_sixteen_rising_levels_around_an_exact_zero() -> None:
    assert len(NF4_LEVELS) == 16
    assert (np.diff(NF4_LEVELS) > 0).all()
    assert {-1.0, 0.0, 1.0} <= set(NF4_LEVELS.tolist())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_zeros_stay_zeros(encoding: WeightEncoding) -> None:
    zeros = np.zeros((ROWS, COLUMNS), np.float32)
    np.testing.assert_array_equal(decoded(encode(graph_of(zeros), encoding), ROWS), zeros)


def test_weights_that_are_not_read_are_left_out(weights: NDArray[np.float32]) -> None:
    model = onnx.load_from_string(graph_of(weights))
    assert [constant.name for constant in model.graph.initializer] == ["weights.a.b"]
    assert [value.name for value in model.graph.input] == ["x"]
    assert holds_weights(graph_of(weights))


@pytest.mark.parametrize("encoding", ["float16", "int8", "nf4"])
def test_a_weight_too_large_for_its_scale_is_refused(
    weights: NDArray[np.float32], encoding: WeightEncoding
) -> None:
    weights[3, 4] = 1e8
    with pytest.raises(NonFiniteError, match=r"weights\.a\.b does not fit"):
        encode(graph_of(weights), encoding)


def test_an_unknown_encoding_is_refused(weights: NDArray[np.float32]) -> None:
    with pytest.raises(InvalidOptionError, match="float32, float16, int8, nf4"):
        encode(graph_of(weights), "int3")  # type: ignore[arg-type]


def test_small_weights_stay_as_they_are_and_the_learner_is_left_alone() -> None:
    learner = make_learner("lora", LearnerOptions(hidden=32), seed=0)
    before = {name: tensor.clone() for name, tensor in learner.named_parameters()}
    after = dict(rounded(learner, "nf4").named_parameters())
    large = set(large_weights(learner))
    assert large
    for name, tensor in learner.named_parameters():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
        assert torch.equal(after[name], tensor) == (name not in large)
