"""Gives a graph with 16-bit activations 8-bit features, in standard ONNX nodes."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from export.errors import GateError

_OUTPUT = "features"
_LARGEST_16, _LARGEST_8 = 65535, 255
_OPSET = 21


def narrow_features(model: ModelProto) -> None:
    """Round `features` to 8 bits over the range of its 16-bit quantization, in place.

    Args:
        model: Its last node makes `features` from unsigned 16-bit integers, one scale.

    Raises:
        GateError: It is not such a model.
    """
    _use_standard_nodes(model)
    graph = model.graph
    last = _producer(model)
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    scale, zero_point = (values.get(name) for name in last.input[1:3])
    if scale is None or zero_point is None or zero_point.dtype != np.uint16 or scale.size != 1:
        msg = "features must come from one 16-bit scale and zero point"
        raise GateError(msg)
    step = float(scale)
    low = -step * float(zero_point)
    narrow_step = np.float32(step * _LARGEST_16 / _LARGEST_8)
    narrow_zero = np.uint8(np.clip(np.rint(-low / float(narrow_step)), 0, _LARGEST_8))
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(narrow_step), "features_narrow_scale"),
            numpy_helper.from_array(np.array(narrow_zero), "features_narrow_zero_point"),
        ]
    )
    last.output[0] = "features_wide"
    parameters = ["features_narrow_scale", "features_narrow_zero_point"]
    graph.node.extend(
        [
            helper.make_node(
                "QuantizeLinear", ["features_wide", *parameters], ["features_narrow"],
                name="features_QuantizeLinear_8",
            ),
            helper.make_node(
                "DequantizeLinear", ["features_narrow", *parameters], [_OUTPUT],
                name="features_DequantizeLinear_8",
            ),
        ]
    )  # fmt: skip


def _use_standard_nodes(model: ModelProto) -> None:
    """Quantize by ONNX's own nodes, which know 16 bits since set 21, not by Microsoft's."""
    for node in model.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            node.domain = ""
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", _OPSET))


def _producer(model: ModelProto) -> NodeProto:
    nodes: list[NodeProto] = list(model.graph.node)
    for node in nodes:
        if _OUTPUT in node.output and node.op_type == "DequantizeLinear" and len(node.input) == 3:
            return node
    msg = "features must be the output of a DequantizeLinear node"
    raise GateError(msg)
