"""A bundle for 28 x 28 images that needs no training, and one import made quietly.

Flower imports typer, which uses a deprecated name of click: that warning is not ours to fix.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from onnx import TensorProto, helper

from edge_sdk.manifest import InputSpec
from export.bundle_writer import write_bundle
from tests.support import tiny_graphs as tiny

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", r"'click\.utils\.", DeprecationWarning)
    import typer

if TYPE_CHECKING:
    from pathlib import Path

assert typer


def pooled_features() -> bytes:
    """embed.onnx: the mean ink of the 7 x 7 patches of an image, `[n, 49]`."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["p"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "embed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 28, 28])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 49])],
    )
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


@pytest.fixture
def patches_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class means of 7 x 7 patches, four ways, no labels."""
    monkeypatch.setattr(tiny, "DIM", 49)
    graphs = {
        "init.onnx": tiny.init_graph(tiny.prototypical_init()),
        "embed.onnx": pooled_features(),
        "adapt.onnx": tiny.prototypical_adapt(),
        "predict.onnx": tiny.prototypical_predict(),
    }
    draft = replace(
        tiny.prototypical_draft("patches"),
        input=InputSpec(shape=(1, 28, 28), description="ink 1, paper 0"),
    )
    path = tmp_path / "patches"
    write_bundle(path, manifest_fields=draft, graphs=graphs, model_card="patches")
    return path
