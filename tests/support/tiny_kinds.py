"""Two more tiny learners in ONNX operators: one that reads examples in order, one of values.

Sizes and backbone are those of `tiny_graphs`. Needs onnx.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.manifest import TensorSpec
from tests.support.tiny_graphs import (
    DIM,
    F32,
    I64,
    WAYS,
    Port,
    constants,
    distance_logits,
    embed_graph,
    gradient_draft,
    init_graph,
    model,
    node,
    one_hot,
    prototypical_draft,
    prototypical_graphs,
    prototypical_init,
    weighted_loss,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_sdk.manifest import BundleDraft

RECENCY = 0.5
OUTPUTS = 2
NOISE = 0.25
REGRESSION_STEPS = 3


def recency_adapt() -> bytes:
    """adapt.onnx of one example: a prototype moves half way to each new example of its slot.

    The loss is that of the new state.
    """
    nodes = [
        *one_hot(),
        node("Add", "state.counts", "seen", to="next.counts"),
        node("Greater", "state.counts", "zero", to="known"),
        node("Where", "known", "recency", "one", to="pull"),
        node("Mul", "pull", "seen", to="slot_pull"),
        node("Unsqueeze", "slot_pull", "one_i", to="slot_pull_column"),
        node("Sub", "features", "state.prototypes", to="away"),
        node("Mul", "slot_pull_column", "away", to="move"),
        node("Add", "state.prototypes", "move", to="next.prototypes"),
        *distance_logits("next.prototypes", "next.counts", to="logits"),
        *weighted_loss("logits"),
    ]
    inputs: list[Port] = [
        ("state.prototypes", F32, [WAYS, DIM]),
        ("state.counts", F32, [WAYS]),
        ("features", F32, [1, DIM]),
        ("labels", I64, [1]),
        ("weights", F32, [1]),
    ]
    outputs: list[Port] = [
        ("next.prototypes", F32, [WAYS, DIM]),
        ("next.counts", F32, [WAYS]),
        ("loss", F32, []),
    ]
    return model("adapt", nodes, inputs, outputs, _constants())


def regression_adapt() -> bytes:
    """adapt.onnx: one step of gradient descent on half the weighted mean squared error."""
    nodes = [
        node("Unsqueeze", "weights", "one_i", to="weights_column"),
        node("ReduceSum", "weights", "zero_i", to="seen", keepdims=1),
        node("Max", "state.counts", "seen", to="next.counts"),
        node("ReduceSum", "weights", "zero_i", to="total_weight", keepdims=0),
        node("MatMul", "features", "state.weight", to="mean"),
        node("Sub", "mean", "targets", to="gap"),
        node("Mul", "gap", "weights_column", to="weighted_gap"),
        node("Div", "weighted_gap", "total_weight", to="d_mean"),
        node("Transpose", "features", to="features_t"),
        node("MatMul", "features_t", "d_mean", to="d_weight"),
        node("Mul", "d_weight", "learning_rate", to="step"),
        node("Sub", "state.weight", "step", to="next.weight"),
        node("Mul", "gap", "d_mean", to="squares"),
        node("ReduceSum", "squares", to="total", keepdims=0),
        node("Div", "total", "two", to="loss"),
    ]
    inputs: list[Port] = [
        *_regression_state_ports("state"),
        ("features", F32, ["n", DIM]),
        ("targets", F32, ["n", OUTPUTS]),
        ("weights", F32, ["n"]),
    ]
    outputs: list[Port] = [*_regression_state_ports("next"), ("loss", F32, [])]
    return model("adapt", nodes, inputs, outputs, _constants())


def regression_predict() -> bytes:
    """predict.onnx: the mean is features @ weight, the variance noise + |features|^2 / (1 + n)."""
    nodes = [
        node("MatMul", "features", "state.weight", to="mean"),
        node("Mul", "features", "features", to="squares"),
        node("ReduceSum", "squares", "one_i", to="norms", keepdims=1),
        node("Add", "state.counts", "one", to="strength"),
        node("Div", "norms", "strength", to="spread"),
        node("Add", "spread", "noise", to="total"),
        node("Shape", "mean", to="shape"),
        node("Expand", "total", "shape", to="variance"),
    ]
    inputs: list[Port] = [*_regression_state_ports("state"), ("features", F32, ["n", DIM])]
    outputs: list[Port] = [
        ("mean", F32, ["n", OUTPUTS]),
        ("variance", F32, ["n", OUTPUTS]),
    ]
    return model("predict", nodes, inputs, outputs, _constants())


def sequential_graphs(*, seed: int) -> dict[str, bytes]:
    """All four graphs of the learner whose result depends on the order of examples."""
    return {
        **prototypical_graphs(prototypical_init(), seed=seed),
        "adapt.onnx": recency_adapt(),
    }


def regression_graphs(*, seed: int) -> dict[str, bytes]:
    """All four graphs of the regression."""
    init = {
        "weight": np.zeros((DIM, OUTPUTS), np.float32),
        "counts": np.zeros(1, np.float32),
    }
    return {
        "init.onnx": init_graph(init),
        "embed.onnx": embed_graph(seed),
        "adapt.onnx": regression_adapt(),
        "predict.onnx": regression_predict(),
    }


def sequential_draft(name: str) -> BundleDraft:
    """What the manifest of the sequential learner says."""
    return replace(prototypical_draft(name), learner="tiny-recency", adaptation="sequential")


def regression_draft(name: str) -> BundleDraft:
    """What the manifest of the regression says."""
    return replace(
        gradient_draft(name),
        learner="tiny-regression",
        steps=REGRESSION_STEPS,
        ways=1,
        state=(
            TensorSpec(name="weight", shape=(DIM, OUTPUTS), role="shared"),
            TensorSpec(name="counts", shape=(1,), role="personal"),
        ),
        task="regression",
        outputs=OUTPUTS,
        variance=True,
    )


def _regression_state_ports(prefix: str) -> list[Port]:
    return [(f"{prefix}.weight", F32, [DIM, OUTPUTS]), (f"{prefix}.counts", F32, [1])]


def _constants() -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    return {
        **constants(),
        "recency": np.array(RECENCY, np.float32),
        "noise": np.array(NOISE, np.float32),
    }
