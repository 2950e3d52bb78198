"""The weights that `adapt.onnx` and `predict.onnx` hold, in 32, 16, 8 or 4 bits a number.

Weights are stored in blocks of `BLOCK` numbers with one scale each, and decoded inside the graph by
standard operators, which ONNX Runtime evaluates once, when it loads the graph. A learner's own
precision is that of the decoded weights: the parity gate compares with those, and gradients of
adapters flow through them.

4 bits are the 16 levels of NF4 (Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs",
NeurIPS 2023, appendix E): the quantiles of a normal distribution, scaled to [-1, 1], with an exact
zero.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edge_sdk.errors import InvalidOptionError, NonFiniteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    Float32 = NDArray[np.float32]

_Module = TypeVar("_Module", bound=nn.Module)

WeightEncoding = Literal["float32", "float16", "int8", "nf4"]

PREFIX = "weights."
"""Of the names of such weights in a graph."""

MIN_SIZE = 1024
"""Tensors of fewer numbers stay part of the traced graph: they weigh little."""

BLOCK = 64

NF4_LEVELS: Float32 = np.array(
    [
        -1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
        0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
    ],
    np.float32,
)  # fmt: skip


def check_encoding(encoding: str) -> None:
    """Refuse an encoding that does not exist.

    Raises:
        InvalidOptionError: There is none of that name.
    """
    if encoding not in get_args(WeightEncoding):
        msg = f"weights must be one of {', '.join(get_args(WeightEncoding))}, got {encoding!r}"
        raise InvalidOptionError(msg)


def large_weights(learner: nn.Module) -> dict[str, Tensor]:
    """The parameters that are stored by their own encoding where a graph reads them, by name."""
    return {
        name: parameter
        for name, parameter in learner.named_parameters()
        if parameter.dim() > 1 and parameter.numel() >= MIN_SIZE
    }


def rounded(learner: _Module, encoding: WeightEncoding) -> _Module:
    """A copy of `learner` whose large weights are what `encoding` makes of them.

    Raises:
        NonFiniteError: A weight does not fit into the encoding.
    """
    result = copy.deepcopy(learner)
    with torch.no_grad():
        for name, parameter in large_weights(result).items():
            values = parameter.detach().cpu().to(torch.float32).numpy()
            parameter.copy_(torch.from_numpy(_decoded(name, values, encoding)))
    return result


def bind(model: onnx.ModelProto, weights: Mapping[str, Float32]) -> None:
    """Make constants of the inputs called `weights.<name>`, in place; of those that are read."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    kept = [value for value in graph.input if not value.name.startswith(PREFIX)]
    names = [value.name for value in graph.input if value.name.startswith(PREFIX)]
    del graph.input[:]
    graph.input.extend(kept)
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(weights[name.removeprefix(PREFIX)]), name)
        for name in names
        if name in read
    )


def holds_weights(graph: bytes) -> bool:
    """Whether `bind` put any weight into the graph."""
    model = onnx.load_from_string(graph)
    return any(constant.name.startswith(PREFIX) for constant in model.graph.initializer)


def encode(graph: bytes, encoding: WeightEncoding) -> bytes:
    """`graph` with the weights that `bind` put into it stored in fewer bits.

    Raises:
        InvalidOptionError: There is no such encoding.
        NonFiniteError: A weight does not fit into it.
    """
    check_encoding(encoding)
    if encoding == "float32":
        return graph
    model = onnx.load_from_string(graph)
    constants = list(model.graph.initializer)
    decoders: list[onnx.NodeProto] = []
    del model.graph.initializer[:]
    for constant in constants:
        if not constant.name.startswith(PREFIX):
            model.graph.initializer.append(constant)
            continue
        nodes, stored = _decoder(constant.name, numpy_helper.to_array(constant), encoding)
        decoders += nodes
        model.graph.initializer.extend(stored)
    if encoding == "nf4" and decoders:
        shared = {"levels": NF4_LEVELS, "mask": np.uint8(15), "shift": np.uint8(4)}
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), f"nf4.{key}")
            for key, value in shared.items()
        )
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*decoders, *rest])
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _decoded(name: str, values: Float32, encoding: WeightEncoding) -> Float32:
    """What the graph will compute with in place of `values`, to the bit."""
    check_encoding(encoding)
    if encoding == "float32":
        return values
    if encoding == "float16":
        return _half(name, values).astype(np.float32)
    codes, scale = _block_codes(name, values, encoding)
    levels = NF4_LEVELS[codes] if encoding == "nf4" else codes.astype(np.float32)
    blocks = levels * scale.astype(np.float32)
    return blocks.reshape(-1)[: values.size].reshape(values.shape)


def _block_codes(
    name: str, values: Float32, encoding: WeightEncoding
) -> tuple[NDArray[np.int8] | NDArray[np.uint8], NDArray[np.float16]]:
    """Codes `[blocks, BLOCK]` and scales `[blocks, 1]`; the last block is filled up with zeros."""
    flat = np.zeros(-(-values.size // BLOCK) * BLOCK, np.float32)
    flat[: values.size] = values.reshape(-1)
    blocks = flat.reshape(-1, BLOCK)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    scale = _half(name, largest if encoding == "nf4" else largest / 127)
    # codes are chosen under the scale as it is stored; a block of zeros has scale 0
    divisor = np.where(scale > 0, scale, 1).astype(np.float32)
    unit = blocks / divisor
    if encoding == "int8":
        return np.clip(np.rint(unit), -127, 127).astype(np.int8), scale
    return np.abs(unit[..., None] - NF4_LEVELS).argmin(-1).astype(np.uint8), scale


def _half(name: str, values: Float32) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        msg = f"{name} does not fit into 16 bits; use float32 weights"
        raise NonFiniteError(msg)
    return half


def _decoder(
    name: str, values: Float32, encoding: WeightEncoding
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes that compute `name`, and the constants that they read."""
    if encoding == "float16":
        stored = numpy_helper.from_array(_half(name, values), f"{name}.half")
        return [helper.make_node("Cast", [stored.name], [name], to=TensorProto.FLOAT)], [stored]
    codes, scale = _block_codes(name, values, encoding)
    constants = {
        "codes": _packed(codes) if encoding == "nf4" else codes,
        "scale": scale,
        "shape": np.array(values.shape, np.int64),
    }
    nodes = [
        *_level_nodes(name, encoding),
        helper.make_node("Cast", [f"{name}.scale"], [f"{name}.wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.levels", f"{name}.wide"], [f"{name}.blocks"]),
    ]
    whole = f"{name}.blocks"
    if values.size % BLOCK:
        constants |= {
            "flat": np.array([-1]),
            "start": np.array([0]),
            "end": np.array([values.size]),
        }
        nodes += [
            helper.make_node("Reshape", [whole, f"{name}.flat"], [f"{name}.row"]),
            helper.make_node(
                "Slice", [f"{name}.row", f"{name}.start", f"{name}.end"], [f"{name}.cut"]
            ),
        ]
        whole = f"{name}.cut"
    nodes.append(helper.make_node("Reshape", [whole, f"{name}.shape"], [name]))
    return nodes, [numpy_helper.from_array(v, f"{name}.{k}") for k, v in constants.items()]


def _packed(codes: NDArray[np.int8] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`[blocks, BLOCK]` of 4 bits -> `[blocks, BLOCK / 2]`; the first half lies low."""
    half = BLOCK // 2
    packed: NDArray[np.uint8] = (codes[:, :half] | (codes[:, half:] << 4)).astype(np.uint8)
    return packed


def _level_nodes(name: str, encoding: WeightEncoding) -> list[onnx.NodeProto]:
    """From `<name>.codes` to `<name>.levels`, `[blocks, BLOCK]` float32, before scaling."""
    codes, levels = f"{name}.codes", f"{name}.levels"
    if encoding == "int8":
        return [helper.make_node("Cast", [codes], [levels], to=TensorProto.FLOAT)]
    low, high, both, index = (f"{name}.{k}" for k in ("low", "high", "both", "index"))
    return [
        helper.make_node("BitwiseAnd", [codes, "nf4.mask"], [low]),
        helper.make_node("BitShift", [codes, "nf4.shift"], [high], direction="RIGHT"),
        helper.make_node("Concat", [low, high], [both], axis=1),
        helper.make_node("Cast", [both], [index], to=TensorProto.INT32),
        helper.make_node("Gather", ["nf4.levels", index], [levels], axis=0),
    ]
