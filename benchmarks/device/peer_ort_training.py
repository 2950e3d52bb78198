"""ONNX Runtime's on-device training, 1.19.2 (its last release), through its documented Python API.

`import onnxruntime.training` would import torch, which the on-device path does not use. A package
object without that `__init__` takes its place, so that only the runtime itself is measured.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
from work import BATCH, NORM_EPS, RATES, STEPS, WAYS, network, support

NAME = "ort-training"


def _training(module: str) -> types.ModuleType:
    if "onnxruntime.training" not in sys.modules:
        spec = importlib.util.find_spec("onnxruntime")
        if spec is None or spec.origin is None:
            msg = "onnxruntime-training-cpu is not installed"
            raise ImportError(msg)
        package = types.ModuleType("onnxruntime.training")
        package.__path__ = [str(Path(spec.origin).parent / "training")]
        sys.modules["onnxruntime.training"] = package
    return importlib.import_module(f"onnxruntime.training.{module}")


def version() -> str:
    """What runs."""
    import onnxruntime

    return f"onnxruntime-training-cpu {onnxruntime.__version__}"


def _forward(task: str):  # a ModelProto; onnx is imported when this runs
    """The forward network, and the names of what is trained."""
    from onnx import TensorProto, helper, numpy_helper

    net, nodes = network(task), []
    trained = net.tensors(trained=True)
    values = {**net.tensors(trained=False), **trained}
    now = "x"

    def then(operation: str, inputs: list[str], outputs: list[str], **attributes) -> str:
        name = outputs[0]
        nodes.append(helper.make_node(operation, inputs, outputs, name=name, **attributes))
        return name

    for i, layer in enumerate(net.layers):
        size = layer.kernel.shape[2]
        now = then(
            "Conv", [now, f"kernel{i}", f"bias{i}"], [f"conv{i}"], kernel_shape=[size] * 2,
            pads=[layer.padding] * 4, strides=[layer.stride] * 2, group=layer.groups,
        )  # fmt: skip
        if layer.norm is not None:
            values[f"mean{i}"] = np.zeros_like(layer.bias)
            values[f"variance{i}"] = np.ones_like(layer.bias)
            inputs = [now, f"scale{i}", f"shift{i}", f"mean{i}", f"variance{i}"]
            outputs = [f"norm{i}", f"next_mean{i}", f"next_variance{i}"]
            now = then("BatchNormalization", inputs, outputs, epsilon=NORM_EPS, training_mode=1)
        if layer.clip is None:
            now = then("Relu", [now], [f"relu{i}"])
        else:
            values["low"], values["high"] = np.float32(0), np.float32(layer.clip)
            now = then("Clip", [now, "low", "high"], [f"clip{i}"])
        if layer.pool:
            now = then("MaxPool", [now], [f"pool{i}"], kernel_shape=[2, 2], strides=[2, 2])
    if net.layers:
        now = then("ReduceMean", [now], ["mean"], axes=[2, 3], keepdims=0)
    then("Gemm", [now, "w", "b"], ["logits"])
    x, _ = support(task)
    graph = helper.make_graph(
        nodes,
        "forward",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [BATCH, WAYS])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    return model, list(trained)


def prepare(task: str, folder: Path) -> None:
    """Write the training graphs and the checkpoint."""
    artifacts = _training("artifacts")
    model, trained = _forward(task)
    frozen = [t.name for t in model.graph.initializer if t.name not in trained]
    artifacts.generate_artifacts(
        model,
        requires_grad=trained,
        frozen_params=frozen,
        loss=artifacts.LossType.CrossEntropyLoss,
        optimizer=artifacts.OptimType.SGD,
        artifact_directory=str(folder),
    )


class Run:
    """CheckpointState, Module and Optimizer, as the documentation shows."""

    def __init__(self, task: str, folder: Path, threads: int) -> None:
        import onnxruntime

        api = _training("api")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.state = api.CheckpointState.load_checkpoint(str(folder / "checkpoint"))
        self.module = api.Module(
            str(folder / "training_model.onnx"), self.state, session_options=options
        )
        self.optimizer = api.Optimizer(str(folder / "optimizer_model.onnx"), self.module)
        self.optimizer.set_learning_rate(RATES[task])
        self.module.train()
        self.x, self.y = support(task)
        initial = self.module.get_contiguous_parameters(trainable_only=True).numpy().copy()
        self.initial = onnxruntime.OrtValue.ortvalue_from_numpy(initial)

    def reset(self) -> None:
        self.module.copy_buffer_to_parameters(self.initial._ortvalue, trainable_only=True)

    def adapt(self) -> list[float]:
        losses = []
        for _ in range(STEPS):
            losses.append(float(np.asarray(self.module(self.x, self.y)).reshape(-1)[0]))
            self.optimizer.step()
            self.module.lazy_reset_grad()
        return losses
