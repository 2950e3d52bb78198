"""4-bit weights of the frozen graph: sixteen levels a channel, packed without loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_sdk._core import check_graph
from edge_sdk.errors import InvalidOptionError
from export.four_bit import pack_weights, round_weights
from export.onnx_bytes import IR_VERSION, OPSET
from export.quantize import quantize_embed

if TYPE_CHECKING:
    from numpy.typing import NDArray

HIDDEN, SIDE = 32, 12


def graph_of(*, groups: int = 1, softmax: bool = False) -> bytes:
    """Two convolutions, a dense layer and a matrix product, with He-normal weights."""
    rng = np.random.default_rng(0)
    flat = HIDDEN * (SIDE // 4) ** 2
    shapes = {
        "c1": (HIDDEN, 1, 3, 3),
        "c2": (HIDDEN, HIDDEN // groups, 3, 3),
        "dense": (HIDDEN, flat),
        "product": (HIDDEN, 10),
    }
    constants = {
        name: (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    conv = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    last = "logits" if softmax else "features"
    nodes = [
        helper.make_node("Conv", ["x", "c1"], ["h1"], **conv),
        helper.make_node("Relu", ["h1"], ["r1"]),
        helper.make_node("Conv", ["r1", "c2"], ["h2"], group=groups, **conv),
        helper.make_node("Relu", ["h2"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["f"]),
        helper.make_node("Gemm", ["f", "dense"], ["g"], transB=1),
        helper.make_node("MatMul", ["g", "product"], [last]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", [last], ["features"]))
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 10])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return np.random.default_rng(1).random((60, 1, SIDE, SIDE), dtype=np.float32)


def run(graph: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    found: NDArray[np.float32] = onnxruntime.InferenceSession(graph, options).run(None, {"x": x})[0]
    return found


def weights_of(graph: bytes) -> dict[str, NDArray[np.float32]]:
    tensors = onnx.load_from_string(graph).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


def relative_error(got: NDArray[np.float32], want: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def test_every_channel_keeps_sixteen_levels(images: NDArray[np.float32]) -> None:
    rounded = weights_of(round_weights(graph_of(), images))
    for name in ("c1", "c2", "dense"):
        assert all(len(np.unique(row)) <= 16 for row in rounded[name])
    assert all(len(np.unique(column)) <= 16 for column in rounded["product"].T)


def test_the_error_is_less_than_that_of_rounding_to_the_nearest(
    images: NDArray[np.float32],
) -> None:
    graph = graph_of()
    want = run(graph, images)
    nearest = onnx.load_from_string(graph)
    for tensor in nearest.graph.initializer:
        values = numpy_helper.to_array(tensor)
        axis = tuple(range(1, values.ndim)) if tensor.name != "product" else (0,)
        step = np.abs(values).max(axis=axis, keepdims=True) / 7
        tensor.CopyFrom(numpy_helper.from_array(np.rint(values / step) * step, tensor.name))
    plain = relative_error(run(nearest.SerializeToString(), images), want)
    ours = relative_error(run(round_weights(graph, images), images), want)
    assert ours < plain / 3


def test_grouped_convolutions_are_left_alone(images: NDArray[np.float32]) -> None:
    graph = graph_of(groups=2)
    before, after = weights_of(graph), weights_of(round_weights(graph, images))
    np.testing.assert_array_equal(after["c2"], before["c2"])
    assert (after["dense"] != before["dense"]).any()


def test_packing_loses_nothing_and_halves_the_weights(images: NDArray[np.float32]) -> None:
    whole = quantize_embed(round_weights(graph_of(), images), images)
    model = onnx.load_from_string(whole)
    assert pack_weights(model) == 2  # the others are too small for it to pay
    packed = model.SerializeToString()
    check_graph("embed.onnx", packed)
    np.testing.assert_array_equal(run(packed, images), run(whole, images))
    assert len(whole) - len(packed) > 0.3 * sum(
        weights_of(graph_of())[n].size for n in ("c2", "dense")
    )


def test_weights_of_many_values_are_not_packed(images: NDArray[np.float32]) -> None:
    model = onnx.load_from_string(quantize_embed(graph_of(), images))
    before = model.SerializeToString()
    assert pack_weights(model) == 0
    assert model.SerializeToString() == before


@pytest.mark.parametrize("target", ["arm64", "x86"])
def test_four_bits_stay_close_to_float(images: NDArray[np.float32], target: str) -> None:
    graph = graph_of()
    four = quantize_embed(graph, images, target=target, weight_bits=4)  # type: ignore[arg-type]
    assert relative_error(run(four, images), run(graph, images)) < 0.08
    assert len(four) < len(quantize_embed(graph, images))


def test_other_numbers_of_bits_are_refused(images: NDArray[np.float32]) -> None:
    with pytest.raises(InvalidOptionError, match="weight_bits must be 4 or 8"):
        quantize_embed(graph_of(), images, weight_bits=3)  # type: ignore[arg-type]


def test_only_the_products_of_a_transformer_are_quantized(images: NDArray[np.float32]) -> None:
    graph = graph_of(softmax=True)
    model = onnx.load_from_string(quantize_embed(graph, images))
    producers = {name: node.op_type for node in model.graph.node for name in node.output}
    quantized = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert quantized
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    assert softmax.output[0] == "features"
    assert producers["features"] == "Softmax"
