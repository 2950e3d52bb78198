"""The server side: tasks, meta-training, export to quantized ONNX, evaluation."""

from edge_sdk.runtime import refuse_telemetry

refuse_telemetry()  # before any module here imports onnxruntime
