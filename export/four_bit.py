"""Weights of a frozen graph with 16 levels a channel, which take 4 bits each.

Two steps around ordinary int8 quantization. Before it, `round_weights` moves each weight to one of
16 levels of its output channel, the errors made up for by the weights not yet rounded (GPTQ:
Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
ICLR 2023, with a codebook of each channel's own in place of a uniform grid). After it,
`pack_weights` stores what are then int8 weights of at most 16 values a channel as 4-bit indices
into them. That loses nothing: ONNX Runtime unpacks them once, when it loads the graph, and runs its
int8 kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]

LEVELS = 16
_LLOYD_ROUNDS = 20
_NODE_BYTES = 1000
"""What the nodes that unpack a tensor take: small tensors stay as they are."""

_DAMPING = 0.01
"""Of the input covariance's diagonal, as in the paper: keeps its inverse finite."""


def round_weights(graph: bytes, x: Float32) -> bytes:
    """Move every weight of the convolutions and matrix products to one of 16 levels of its channel.

    Layer by layer, so that each layer is fitted to what the rounded ones below it give.

    Args:
        graph: The float32 graph, input `x`.
        x: Inputs from training tasks, `[n, *input_shape]`.
    """
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        weights = _initializers(model)
        if not _is_layer(node, weights):
            continue
        tensor = weights[node.input[1]]
        matrix = _as_rows(node, numpy_helper.to_array(tensor))
        columns = _columns(
            node, numpy_helper.to_array(tensor).shape, _value(model, node.input[0], x)
        )
        rounded = _gptq(matrix.astype(np.float64), columns)
        back = _from_rows(node, rounded.astype(np.float32), numpy_helper.to_array(tensor).shape)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(back), tensor.name))
    data: bytes = model.SerializeToString()
    return data


def pack_weights(model: onnx.ModelProto) -> int:
    """Store int8 weights of at most 16 values a channel in 4 bits each, in place, where it pays.

    Args:
        model: A graph whose weights are int8 inputs of DequantizeLinear, one scale a channel.

    Returns:
        How many tensors were packed.
    """
    weights = _initializers(model)
    nodes: list[onnx.NodeProto] = []
    packed = 0
    for node in list(model.graph.node):
        tensor = weights.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if tensor is None or tensor.data_type != TensorProto.INT8 or len(tensor.dims) < 2:
            continue
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        values = np.moveaxis(numpy_helper.to_array(tensor), axis, 0)
        if values.size // 2 <= len(values) * LEVELS + _NODE_BYTES:
            continue
        found = _indices(values.reshape(len(values), -1))
        if found is None:
            continue
        model.graph.initializer.remove(tensor)
        made, constants = _unpacker(tensor.name, *found, values.shape, axis)
        nodes += made
        model.graph.initializer.extend(constants)
        packed += 1
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    if packed:
        for name, value in (("mask", 15), ("shift", 4)):
            constant = numpy_helper.from_array(np.array(value, np.uint8), f"unpack.{name}")
            model.graph.initializer.append(constant)
    return packed


def _initializers(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _is_layer(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    if node.op_type not in {"Conv", "Gemm", "MatMul"} or node.input[1] not in weights:
        return False
    return node.op_type != "Conv" or _attribute(node, "group", 1) == 1


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default


def _is_transposed(node: onnx.NodeProto) -> bool:
    """Whether the weight is `[in, out]`."""
    return node.op_type == "MatMul" or (
        node.op_type == "Gemm" and not _attribute(node, "transB", 0)
    )


def _as_rows(node: onnx.NodeProto, weight: Float32) -> Float32:
    """`[out, in]`; of a convolution `[out, in * height * width]`."""
    return weight.T if _is_transposed(node) else weight.reshape(len(weight), -1)


def _from_rows(node: onnx.NodeProto, rows: Float32, shape: tuple[int, ...]) -> Float32:
    return rows.T if _is_transposed(node) else rows.reshape(shape)


def _value(model: onnx.ModelProto, name: str, x: Float32) -> Float32:
    """What the graph gives under the name `name`."""
    if name == model.graph.input[0].name:
        return x
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: Float32 = session.run([name], {model.graph.input[0].name: x})[0]
    return found


def _columns(node: onnx.NodeProto, shape: tuple[int, ...], inputs: Float32) -> Float32:
    """The vectors that the rows of the weight are multiplied with, `[many, in]`."""
    if node.op_type != "Conv":
        return inputs.reshape(-1, inputs.shape[-1])
    pads = _ints(node, "pads", [0, 0, 0, 0])
    steps, gaps = _ints(node, "strides", [1, 1]), _ints(node, "dilations", [1, 1])
    padded = np.pad(inputs, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    reach = [(size - 1) * gap + 1 for size, gap in zip(shape[2:], gaps, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    windows = windows[:, :, :: steps[0], :: steps[1], :: gaps[0], :: gaps[1]]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, int(np.prod(shape[1:])))


def _ints(node: onnx.NodeProto, name: str, default: list[int]) -> list[int]:
    return [int(value) for value in _attribute(node, name, default)]


def _codebooks(rows: Float64) -> Float64:
    """16 levels for each row, `[out, 16]`: Lloyd's algorithm from evenly spread quantiles."""
    places = (np.arange(LEVELS) + 0.5) / LEVELS
    levels = np.quantile(rows, places, axis=1).T
    levels[:, 0], levels[:, -1] = rows.min(1), rows.max(1)
    for _ in range(_LLOYD_ROUNDS):
        nearest = _nearest(rows, levels)
        for level in range(LEVELS):
            mine = nearest == level
            total = mine.sum(1)
            mean = (rows * mine).sum(1) / np.maximum(total, 1)
            levels[:, level] = np.where(total > 0, mean, levels[:, level])
    return levels


def _nearest(values: Float64, levels: Float64) -> NDArray[np.int64]:
    """Index of the nearest level: `[out, n]` and `[out, 16]` -> `[out, n]`."""
    gaps: NDArray[np.int64] = np.abs(values[:, :, None] - levels[:, None, :]).argmin(-1)
    return gaps


def _gptq(rows: Float64, columns: Float32) -> Float64:
    """Round `rows` `[out, in]` so that their products with `columns` `[many, in]` change little."""
    vectors = columns.astype(np.float64)
    covariance = vectors.T @ vectors / len(vectors)
    damping = _DAMPING * max(float(covariance.diagonal().mean()), float(np.finfo(np.float32).tiny))
    covariance += damping * np.eye(len(covariance))
    # rows of the upper factor of the inverse say how an error is made up for by later weights
    factor = np.linalg.cholesky(np.linalg.inv(covariance)).T
    levels = _codebooks(rows)
    left, done = rows.copy(), np.empty_like(rows)
    for column in range(rows.shape[1]):
        chosen = _nearest(left[:, column : column + 1], levels)
        done[:, column] = np.take_along_axis(levels, chosen, axis=1)[:, 0]
        error = (left[:, column] - done[:, column]) / factor[column, column]
        left[:, column + 1 :] -= np.outer(error, factor[column, column + 1 :])
    return done


def _indices(rows: NDArray[np.int8]) -> tuple[NDArray[np.uint8], NDArray[np.int8]] | None:
    """Codes `[out, n]` and values `[out, 16]`; None where a row has more than 16 values."""
    codes = np.zeros(rows.shape, np.uint8)
    table = np.zeros((len(rows), LEVELS), np.int8)
    for i, row in enumerate(rows):
        values, inverse = np.unique(row, return_inverse=True)
        if len(values) > LEVELS:
            return None
        table[i, : len(values)] = values
        codes[i] = inverse
    return codes, table


def _unpacker(
    name: str,
    codes: NDArray[np.uint8],
    table: NDArray[np.int8],
    shape: tuple[int, ...],
    axis: int,
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes that give the weight `name`, and their constants.

    Args:
        name: Of the weight.
        codes: `[out, n]`, each below 16.
        table: `[out, 16]`.
        shape: Of the weight with its channel axis first.
        axis: Where that axis belongs.
    """
    flat = codes.reshape(-1)
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    half = flat.size // 2
    constants = {
        "codes": flat[:half] | (flat[half:] << 4),  # the first half lies in the low bits
        "table": table.reshape(-1),
        "rows": (LEVELS * np.arange(len(table), dtype=np.int32))[:, None],
        "size": np.array([codes.size], np.int64),
        "zero": np.array([0], np.int64),
        "matrix": np.array(codes.shape, np.int64),
        "shape": np.array(shape, np.int64),
    }
    part = {key: f"{name}.{key}" for key in (*constants, *_STEPS)}
    order = list(range(1, len(shape)))
    order.insert(axis, 0)
    nodes = [
        helper.make_node("BitwiseAnd", [part["codes"], "unpack.mask"], [part["low"]]),
        helper.make_node(
            "BitShift", [part["codes"], "unpack.shift"], [part["high"]], direction="RIGHT"
        ),
        helper.make_node("Concat", [part["low"], part["high"]], [part["both"]], axis=0),
        helper.make_node("Slice", [part["both"], part["zero"], part["size"]], [part["cut"]]),
        helper.make_node("Cast", [part["cut"]], [part["wide"]], to=TensorProto.INT32),
        helper.make_node("Reshape", [part["wide"], part["matrix"]], [part["index"]]),
        helper.make_node("Add", [part["index"], part["rows"]], [part["place"]]),
        helper.make_node("Gather", [part["table"], part["place"]], [part["values"]], axis=0),
        helper.make_node("Reshape", [part["values"], part["shape"]], [part["first"]]),
        helper.make_node("Transpose", [part["first"]], [name], perm=order),
    ]
    return nodes, [numpy_helper.from_array(np.asarray(v), part[k]) for k, v in constants.items()]


_STEPS = ("low", "high", "both", "cut", "wide", "index", "place", "values", "first")
