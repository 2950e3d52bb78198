"""The server side: tasks, meta-training, export to quantized ONNX, evaluation."""
