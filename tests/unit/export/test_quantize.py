"""int8 embed graphs: close to float32 for every target, small, and the same bytes every time."""

from __future__ import annotations

from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest

from edge_sdk.errors import InvalidOptionError
from export.errors import GateError
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from export.narrow_features import narrow_features
from export.quantize import Target, quantize_embed
from export.to_onnx import export_graphs


@pytest.fixture(scope="module")
def graph() -> bytes:
    learner = make_learner("prototypical", LearnerOptions(hidden=16), seed=0)
    return export_graphs(learner)["embed.onnx"]


def embed(graph: bytes, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["features"], {"x": x})[0])


def images(n: int) -> np.ndarray:
    return (np.random.default_rng(1).random((n, 1, 28, 28)) < 0.2).astype(np.float32)


@pytest.mark.parametrize("target", get_args(Target))
def test_every_target_stays_close_to_float32(graph: bytes, target: Target) -> None:
    x = images(60)
    quantized = quantize_embed(graph, x, target=target)
    want = embed(graph, x)
    error = np.linalg.norm(embed(quantized, x) - want) / np.linalg.norm(want)
    assert (
        1e-4 < error < 0.05
    )  # 8 bits through four layers; exactly equal would mean: not quantized


def test_weights_are_8_bit_integers_and_the_batch_stays_free(graph: bytes) -> None:
    model = onnx.load_from_string(quantize_embed(graph, images(20), target="arm64"))
    kernels = [i for i in model.graph.initializer if len(i.dims) == 4]
    assert len(kernels) == 4
    assert all(i.data_type == onnx.TensorProto.INT8 for i in kernels)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


def test_seven_bit_weights_cannot_saturate(graph: bytes) -> None:
    model = onnx.load_from_string(quantize_embed(graph, images(20), target="x86"))
    for initializer in model.graph.initializer:
        if len(initializer.dims) == 4:
            values = onnx.numpy_helper.to_array(initializer).astype(int)
            assert np.abs(values).max() <= 64


def test_the_npu_gets_wide_activations_and_narrow_features(graph: bytes) -> None:
    model = onnx.load_from_string(quantize_embed(graph, images(20), target="npu"))
    assert {node.domain for node in model.graph.node} == {""}
    dtypes = {i.name: i.data_type for i in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    assert dtypes[makers["features"].input[2]] == onnx.TensorProto.UINT8
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convs) == 4
    for conv in convs:
        assert dtypes[makers[conv.input[0]].input[2]] == onnx.TensorProto.UINT16
        assert dtypes[makers[conv.input[1]].input[2]] == onnx.TensorProto.INT8


def test_narrowing_refuses_what_is_not_sixteen_bits(graph: bytes) -> None:
    for other in (graph, quantize_embed(graph, images(20), target="x86")):
        with pytest.raises(GateError, match="features must"):
            narrow_features(onnx.load_from_string(other))


def test_same_input_same_bytes(graph: bytes) -> None:
    x = images(20)
    first = quantize_embed(graph, x, target="npu")
    assert first == quantize_embed(graph, x.copy(), target="npu")
    assert b"tmp" not in first


def test_bad_options_are_refused(graph: bytes) -> None:
    with pytest.raises(InvalidOptionError, match="target must be one of"):
        quantize_embed(graph, images(2), target="dsp")  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="at least one input"):
        quantize_embed(graph, images(0))
