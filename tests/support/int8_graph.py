"""A tiny int8 `embed.onnx` that fills its 8 bits: kernels that saturate give other features."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.support.tiny import DIM, INPUT_SHAPE

_NUM_PIXELS = int(np.prod(INPUT_SHAPE))


def int8_embed(seed: int) -> bytes:
    """`x` `[n, 1, 4, 4]` -> `features` `[n, 8]`: QDQ with u8 activations and full s8 weights."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(90, 128, size=(_NUM_PIXELS, DIM)) * rng.choice([-1, 1], size=(1, DIM))
    constants = {
        "row": np.array([-1, _NUM_PIXELS], np.int64),
        "x_scale": np.array(1 / 128, np.float32),
        "x_zero": np.array(128, np.uint8),
        "w": weights.astype(np.int8),
        "w_scale": np.full(DIM, 1 / 512, np.float32),
        "w_zero": np.zeros(DIM, np.int8),
        "y_scale": np.array(1 / 16, np.float32),
        "y_zero": np.array(128, np.uint8),
    }
    nodes = [
        helper.make_node("Reshape", ["x", "row"], ["rows"]),
        helper.make_node("QuantizeLinear", ["rows", "x_scale", "x_zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_d"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_d"], axis=1),
        helper.make_node("MatMul", ["x_d", "w_d"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "y_scale", "y_zero"], ["y_q"]),
        helper.make_node("DequantizeLinear", ["y_q", "y_scale", "y_zero"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "int8_embed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *INPUT_SHAPE])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", DIM])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
