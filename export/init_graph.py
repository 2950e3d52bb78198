"""The starting state as an ONNX graph without inputs, in 32, 16 or 8 bits a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.errors import InvalidOptionError, NonFiniteError
from export.onnx_bytes import IR_VERSION, OPSET, serialize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

InitEncoding = Literal["float32", "float16", "int8"]
MIN_REDUCED_SIZE = 64


def init_graph(state: Mapping[str, NDArray[np.float32]], encoding: InitEncoding) -> bytes:
    """Make `init.onnx`: one output `state.<name>` for each tensor, in the order given.

    Args:
        state: float32 tensors by name.
        encoding: `float32` as they are; `float16` cast; `int8` symmetric, with one scale a row
            (the first axis). Tensors of one axis, or of fewer than `MIN_REDUCED_SIZE` numbers, stay
            in float32: they weigh little, and a small count must not round to 0.

    Raises:
        NonFiniteError: A tensor holds NaN or infinity, or would in 16 bits.
        InvalidOptionError: There is no such encoding.
    """
    if encoding not in get_args(InitEncoding):
        msg = f"encoding must be one of {', '.join(get_args(InitEncoding))}, got {encoding!r}"
        raise InvalidOptionError(msg)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    outputs: list[onnx.ValueInfoProto] = []
    for name, tensor in state.items():
        out = f"state.{name}"
        outputs.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, list(tensor.shape)))
        constant = f"const.{name}"
        reduced = tensor.ndim > 1 and tensor.size >= MIN_REDUCED_SIZE
        if not np.isfinite(tensor).all():
            msg = f"state tensor {name} is not finite"
            raise NonFiniteError(msg)
        if _is_constant(tensor):  # nothing to ship but the number; most starting states are zeros
            nodes += _constant(tensor, out)
        elif encoding == "int8" and reduced:
            quantized, scale = quantize_rows(tensor)
            constants += [
                numpy_helper.from_array(quantized, constant),
                numpy_helper.from_array(scale, f"scale.{name}"),
            ]
            nodes.append(
                helper.make_node("DequantizeLinear", [constant, f"scale.{name}"], [out], axis=0)
            )
        elif encoding == "float16" and reduced:
            with np.errstate(over="ignore"):
                half = tensor.astype(np.float16)
            if not np.isfinite(half).all():
                msg = f"state tensor {name} does not fit into 16 bits; use float32"
                raise NonFiniteError(msg)
            constants.append(numpy_helper.from_array(half, constant))
            nodes.append(helper.make_node("Cast", [constant], [out], to=TensorProto.FLOAT))
        else:
            constants.append(numpy_helper.from_array(tensor, constant))
            nodes.append(helper.make_node("Identity", [constant], [out]))
    graph = helper.make_graph(nodes, "graph", [], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    return serialize(model, batch_inputs=())


def _is_constant(tensor: NDArray[np.float32]) -> bool:
    bits = np.ascontiguousarray(tensor).view(np.uint32)
    return tensor.size > 1 and bool((bits == bits.flat[0]).all())


def _constant(tensor: NDArray[np.float32], out: str) -> list[onnx.NodeProto]:
    shape = numpy_helper.from_array(np.array(tensor.shape, np.int64))
    value = numpy_helper.from_array(tensor.ravel()[:1])
    return [
        helper.make_node("Constant", [], [f"shape.{out}"], value=shape),
        helper.make_node("ConstantOfShape", [f"shape.{out}"], [out], value=value),
    ]


def quantize_rows(tensor: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8, one scale for each index of the first axis; a row of zeros has scale 1."""
    top = np.abs(tensor).reshape(tensor.shape[0], -1).max(axis=1)
    scale = np.where(top > 0, top / 127, 1).astype(np.float32)
    shaped = scale.reshape(-1, *([1] * (tensor.ndim - 1)))
    return np.clip(np.rint(tensor / shaped), -127, 127).astype(np.int8), scale
