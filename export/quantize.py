"""int8 static quantization of the frozen graph, for one kind of target, through Optimum."""

from __future__ import annotations

import logging
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import CalibrationConfig, QuantizationConfig

from edge_sdk.errors import InvalidOptionError
from export.four_bit import pack_weights, round_weights
from export.narrow_features import narrow_features
from export.onnx_bytes import serialize

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

Target = Literal["arm64", "x86", "x86-vnni", "npu"]
WeightBits = Literal[4, 8]

CALIBRATION_BATCH = 50

_PRODUCTS = ["Conv", "Gemm", "MatMul"]

# activations, and whether the 8-bit weights keep to 7; weights are signed and symmetric everywhere
_INTEGERS: dict[Target, tuple[QuantType, bool]] = {
    "arm64": (QuantType.QInt8, False),
    "x86": (QuantType.QUInt8, True),
    "x86-vnni": (QuantType.QUInt8, False),
    "npu": (QuantType.QUInt16, False),
}


def quantize_embed(
    graph: bytes,
    calibration_x: NDArray[np.float32],
    *,
    target: Target = "arm64",
    weight_bits: WeightBits = 8,
) -> bytes:
    """Quantize `embed.onnx` to int8 weights and activations (QDQ form, one scale a channel).

    Args:
        graph: The float32 graph, input `x`.
        calibration_x: Inputs from training tasks, float32 `[n, *input_shape]`; their smallest and
            largest activations set the ranges.
        target: Integer types that suit the processor:
            `arm64` signed activations (exact on x86 too, under the SDK's runtime);
            `x86` unsigned activations and 7-bit weights, which cannot saturate without VNNI;
            `x86-vnni` unsigned activations and full 8-bit weights;
            `npu` 8-bit weights, 16-bit activations and 8-bit features, which Qualcomm's HTP takes
            whole. It rounds each layer in its own way: with 8-bit activations four layers came out
            up to 5 quanta from the exact result, with 16 bits never more than 1.
        weight_bits: 8, or 4: then each weight has one of 16 values of its output channel, which
            are 8-bit numbers, and is stored as an index of 4 bits (see `export.four_bit`).

    Raises:
        InvalidOptionError: There is no such target, or nothing to calibrate on.
    """
    if target not in get_args(Target):
        msg = f"target must be one of {', '.join(get_args(Target))}, got {target!r}"
        raise InvalidOptionError(msg)
    check_bits(weight_bits)
    if len(calibration_x) == 0:
        msg = "calibration needs at least one input"
        raise InvalidOptionError(msg)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        if weight_bits == 4:
            graph = round_weights(graph, calibration_x)
        model = _quantize(graph, calibration_x, target, Path(folder))
    if target == "npu":
        narrow_features(model)
    if weight_bits == 4:
        pack_weights(model)
    return serialize(model, batch_inputs=["x"])


def check_bits(bits: int) -> WeightBits:
    """A number of bits that weights can have.

    Raises:
        InvalidOptionError: They cannot.
    """
    for known in (4, 8):
        if bits == known:
            return known
    msg = f"weight_bits must be 4 or 8, got {bits}"
    raise InvalidOptionError(msg)


def _quantize(
    graph: bytes, x: NDArray[np.float32], target: Target, folder: Path
) -> onnx.ModelProto:
    source = folder / "embed.onnx"
    source.write_bytes(graph)
    config = _config(target, _operators(graph))
    quantizer = ORTQuantizer(source)
    ranges = quantizer.fit(
        # Optimum stacks the samples of a batch itself; a list of dicts serves as a data set
        dataset=[{"x": image} for image in x],
        calibration_config=CalibrationConfig(
            dataset_name="training tasks",
            dataset_config_name="",
            dataset_split="train",
            dataset_num_samples=len(x),
            method=CalibrationMethod.MinMax,
        ),
        onnx_augmented_model_name=folder / "augmented.onnx",
        operators_to_quantize=config.operators_to_quantize,
        batch_size=min(CALIBRATION_BATCH, len(x)),
        force_symmetric_range=config.use_symmetric_calibration,
    )
    quantizer.quantize(
        save_dir=folder,
        quantization_config=config,
        file_suffix="int8",
        calibration_tensors_range=ranges,
    )
    return onnx.load(folder / "embed_int8.onnx")


def _operators(graph: bytes) -> list[str]:
    """What to quantize; empty: all that can be.

    Of a transformer the products alone: its residual stream and norms need more than 8 bits
    (Bondarenko, Nagel, Blankevoort, "Understanding and Overcoming the Challenges of Efficient
    Transformer Quantization", EMNLP 2021).
    """
    nodes = onnx.load_from_string(graph).graph.node
    return _PRODUCTS if any(node.op_type == "Softmax" for node in nodes) else []


def _config(target: Target, operators: list[str]) -> QuantizationConfig:
    activations, reduce_range = _INTEGERS[target]
    return QuantizationConfig(
        is_static=True,
        format=QuantFormat.QDQ,
        activations_dtype=activations,
        weights_dtype=QuantType.QInt8,
        weights_symmetric=True,
        per_channel=True,
        reduce_range=reduce_range,
        operators_to_quantize=operators,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence notes that do not concern us (no model config beside the graph, deprecations)."""
    loggers = [logging.getLogger(name) for name in ("optimum", "transformers", "root", None)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
