"""A learner as a float32 bundle that passed no gate, loaded: what parity tests compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from edge_sdk import Engine, open_bundle
from edge_sdk.manifest import BundleDraft, FeaturesSpec, InputSpec, TensorSpec
from export.bundle_writer import write_bundle
from export.init_graph import init_graph
from export.stored_weights import encode
from export.to_onnx import export_graphs

if TYPE_CHECKING:
    from pathlib import Path

    from export.learners.base import Learner
    from export.stored_weights import WeightEncoding


@dataclass(frozen=True)
class Exported:
    """A learner, and the engine that runs its float32 bundle."""

    learner: Learner
    engine: Engine


def export(
    learner: Learner,
    folder: Path,
    *,
    kernel: bool = True,
    weights: WeightEncoding = "float32",
    **kwargs: object,
) -> Exported:
    """Write a bundle without any gate, and load it.

    Args:
        learner: Of any kind.
        folder: Where the bundle's folder is made.
        kernel: With its native kernel.
        weights: Bits of the large weights of adapt.onnx and predict.onnx; the rest is float32.
        kwargs: For `export_graphs`.
    """
    learner.eval()
    with torch.no_grad():
        state = learner.init(learner.options.ways)
        features = learner.embed(torch.zeros(1, *learner.options.input_shape)).shape[1:]
    arrays = {name: tensor.detach().numpy() for name, tensor in state.items()}
    graphs = export_graphs(learner, **kwargs)  # type: ignore[arg-type]
    graphs = {name: encode(graph, weights) for name, graph in graphs.items()}
    draft = BundleDraft(
        name=learner.name,
        version=1,
        parent=None,
        learner=learner.name,
        adaptation=learner.adaptation,
        steps=learner.steps,
        ways=learner.options.ways,
        labels=(),
        input=InputSpec(shape=learner.options.input_shape, description="test"),
        features=FeaturesSpec(shape=tuple(features)),
        state=tuple(
            TensorSpec(name=name, shape=a.shape, role=learner.roles.get(name, "shared"))
            for name, a in arrays.items()
        ),
        kernel=learner.kernel() if kernel else None,
        task=learner.options.task,
        outputs=learner.options.outputs if learner.options.task == "regression" else None,
        variance=learner.has_variance,
    )
    path = folder / learner.name
    write_bundle(
        path,
        manifest_fields=draft,
        graphs={**graphs, "init.onnx": init_graph(arrays, "float32")},
        model_card="test\n",
    )
    return Exported(learner, Engine(open_bundle(path)))
