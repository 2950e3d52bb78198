"""The benchmark's networks as learners, exported through our own exporter. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from work import NORM_EPS, RATES, SHAPES, STEPS, WAYS, network

from edge_sdk.manifest import BundleDraft, FeaturesSpec, InputSpec, SoftmaxSgd, TensorSpec
from export.bundle_writer import write_bundle
from export.init_graph import init_graph
from export.learners.base import Learner, LearnerOptions, Role, State, mask_unused
from export.learners.gradient import gradient_step
from export.to_onnx import export_graphs

if TYPE_CHECKING:
    from pathlib import Path

    from work import Layer


class BenchmarkNet(Learner):
    """A task's network: frozen layers are `embed`, every trained weight moves at one fixed rate.

    Batch norm on batch statistics is what the peers' work says. A learner that ships uses group
    norm (`export.backbones.conv4`), which does not depend on what else is in the batch.
    """

    name = "benchmark"
    adaptation = "gradient"
    roles: ClassVar[dict[str, Role]] = {"w": "slot", "b": "slot", "counts": "personal"}

    def __init__(self, task: str) -> None:
        super().__init__(LearnerOptions(input_shape=SHAPES[task], ways=WAYS, steps=STEPS))
        self.task = task
        self.network = network(task)
        for name, array in self.network.tensors(trained=False).items():
            self.register_buffer(name, torch.from_numpy(array))

    @property
    def has_embed(self) -> bool:  # type: ignore[override]  # of a class elsewhere, of a task here
        """Whether the task freezes anything."""
        return not all(layer.trained for layer in self.network.layers)

    def init(self, ways: int) -> State:
        arrays = self.network.tensors(trained=True)
        arrays["w"] = np.ascontiguousarray(arrays["w"].T)
        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return {**state, "counts": torch.zeros(ways)}

    def embed(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.network.layers):
            if not layer.trained:
                x = _layer(layer, i, x, dict(self.named_buffers()))
        return x

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        rate = features.new_tensor(RATES[self.task])
        rates = {name: rate for name in state if name != "counts"}
        return gradient_step(self, state, features, labels, weights, rates)

    def predict(self, state: State, features: Tensor) -> Tensor:
        x = features
        for i, layer in enumerate(self.network.layers):
            if layer.trained:
                x = _layer(layer, i, x, state)
        z = x.mean((2, 3)) if self.network.layers else x
        return mask_unused(z @ state["w"].T + state["b"], state["counts"])

    def kernel(self) -> SoftmaxSgd | None:
        if self.task != "A":
            return None
        return SoftmaxSgd(weight="w", bias="b", rate=RATES["A"])


def _layer(layer: Layer, i: int, x: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    kernel, bias = tensors[f"kernel{i}"], tensors[f"bias{i}"]
    x = functional.conv2d(x, kernel, bias, layer.stride, layer.padding, groups=layer.groups)
    if layer.norm is not None:
        scale, shift = tensors[f"scale{i}"], tensors[f"shift{i}"]
        x = functional.batch_norm(x, None, None, scale, shift, True, 0.0, NORM_EPS)
    x = functional.relu(x) if layer.clip is None else functional.relu6(x)
    return functional.max_pool2d(x, 2) if layer.pool else x


def write(task: str, folder: Path) -> None:
    """Write the task as a bundle, everything in float32."""
    learner = BenchmarkNet(task)
    arrays = {name: tensor.numpy() for name, tensor in learner.init(WAYS).items()}
    shape = learner.options.input_shape
    features = learner.embed(torch.zeros(1, *shape)).shape[1:]
    draft = BundleDraft(
        name=f"benchmark-{task}",
        version=1,
        parent=None,
        learner=learner.name,
        adaptation=learner.adaptation,
        steps=STEPS,
        ways=WAYS,
        labels=(),
        input=InputSpec(shape=shape, description="random numbers"),
        features=FeaturesSpec(shape=tuple(features)),
        state=tuple(
            TensorSpec(name=name, shape=a.shape, role=learner.roles.get(name, "shared"))
            for name, a in arrays.items()
        ),
        kernel=learner.kernel(),
    )
    graphs = {**export_graphs(learner), "init.onnx": init_graph(arrays, "float32")}
    write_bundle(
        folder, manifest_fields=draft, graphs=graphs, model_card="A benchmark.\n", overwrite=True
    )
