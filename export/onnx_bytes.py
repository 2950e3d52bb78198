"""ONNX models as bytes that depend on nothing but their content."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

OPSET = 20
IR_VERSION = 10  # what ONNX Runtime 1.18 and later read


def serialize(model: onnx.ModelProto, *, batch_inputs: Sequence[str]) -> bytes:
    """Bytes of `model` without anything that differs from one machine or run to another.

    Drops stack traces, documentation and inferred shapes, and calls the symbolic batch `n`.
    """
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "edge-sdk", ""
    graph = model.graph
    graph.name = "graph"
    symbols = {
        value.type.tensor_type.shape.dim[0].dim_param
        for value in graph.input
        if value.name in batch_inputs
    }
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_param = "n"
    del graph.value_info[:]
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    data: bytes = model.SerializeToString(deterministic=True)
    return data
