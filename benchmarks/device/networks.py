"""The benchmark's networks as learners, exported through our own exporter. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from work import BLOCKS, DIM, IMAGE, NORM_EPS, RATES, STEPS, WAYS, start

from edge_sdk.manifest import BundleDraft, FeaturesSpec, InputSpec, SoftmaxSgd, TensorSpec
from export.bundle_writer import write_bundle
from export.init_graph import init_graph
from export.learners.base import Learner, LearnerOptions, Role, State, mask_unused
from export.learners.gradient import gradient_step
from export.to_onnx import export_graphs

if TYPE_CHECKING:
    from pathlib import Path


class BenchmarkNet(Learner):
    """Task A, B or Bp: nothing is frozen, every weight moves at one fixed rate.

    Batch norm on batch statistics is what the peers' work says. A learner that ships uses group
    norm (`export.backbones.conv4`), which does not depend on what else is in the batch.
    """

    name = "benchmark"
    adaptation = "gradient"
    has_embed = False
    roles: ClassVar[dict[str, Role]] = {"w": "slot", "b": "slot", "counts": "personal"}

    def __init__(self, task: str) -> None:
        super().__init__(
            LearnerOptions(input_shape=(DIM,) if task == "A" else IMAGE, ways=WAYS, steps=STEPS)
        )
        self.task = task

    def init(self, ways: int) -> State:
        blocks, weight, bias = start(self.task)
        state: State = {}
        for i, block in enumerate(blocks):
            state[f"kernel{i}"] = torch.from_numpy(block.kernel)
            state[f"bias{i}"] = torch.from_numpy(block.bias)
            state[f"scale{i}"] = torch.from_numpy(block.scale)
            state[f"shift{i}"] = torch.from_numpy(block.shift)
        state["w"] = torch.from_numpy(np.ascontiguousarray(weight.T))
        state["b"] = torch.from_numpy(bias)
        state["counts"] = torch.zeros(ways)
        return state

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        rate = features.new_tensor(RATES[self.task])
        rates = {name: rate for name in state if name != "counts"}
        return gradient_step(self, state, features, labels, weights, rates)

    def predict(self, state: State, features: Tensor) -> Tensor:
        x = features
        for i in range(BLOCKS if self.task != "A" else 0):
            stride = 2 if self.task == "B" else 1
            kernel, bias = state[f"kernel{i}"], state[f"bias{i}"]
            x = functional.conv2d(x, kernel, bias, stride=stride, padding=1)
            scale, shift = state[f"scale{i}"], state[f"shift{i}"]
            x = functional.batch_norm(x, None, None, scale, shift, True, 0.0, NORM_EPS)
            x = functional.relu(x)
            if self.task == "Bp":
                x = functional.max_pool2d(x, 2)
        z = x if self.task == "A" else x.mean((2, 3))
        return mask_unused(z @ state["w"].T + state["b"], state["counts"])

    def kernel(self) -> SoftmaxSgd | None:
        if self.task != "A":
            return None
        return SoftmaxSgd(weight="w", bias="b", rate=RATES["A"])


def write(task: str, folder: Path) -> None:
    """Write the task as a bundle."""
    learner = BenchmarkNet(task)
    arrays = {name: tensor.numpy() for name, tensor in learner.init(WAYS).items()}
    shape = learner.options.input_shape
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
        features=FeaturesSpec(shape=shape),
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
