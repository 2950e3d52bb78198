"""Genuine, tiny learners written straight in ONNX operators: what tests/golden is made from.

Input `[1, 4, 4]`, features `[8]` by a fixed random projection, four ways. One closed form (class
means), one gradient learner (softmax head, its backward pass written out). Needs onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.manifest import BundleDraft, FeaturesSpec, InputSpec, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

INPUT_SHAPE = (1, 4, 4)
NUM_PIXELS = 16
DIM = 8
WAYS = 4
STEPS = 5
LEARNING_RATE = 0.5
UNUSED_LOGIT = -1e9

_OPSET = 17
_IR_VERSION = 8
F32, I64 = TensorProto.FLOAT, TensorProto.INT64

Port = tuple[str, int, list[int | str]]


def projection(seed: int) -> NDArray[np.float32]:
    """The fixed backbone, `[16, 8]`."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(NUM_PIXELS, DIM)) / 4).astype(np.float32)


def prototypical_init() -> dict[str, NDArray[np.float32]]:
    """Nothing taught."""
    return {
        "prototypes": np.zeros((WAYS, DIM), np.float32),
        "counts": np.zeros(WAYS, np.float32),
    }


def labelled_init() -> dict[str, NDArray[np.float32]]:
    """Two slots with a prior of two examples each."""
    rng = np.random.default_rng(11)
    state = prototypical_init()
    state["prototypes"][:2] = rng.normal(size=(2, DIM)).astype(np.float32)
    state["counts"][:2] = 2
    return state


def gradient_init() -> dict[str, NDArray[np.float32]]:
    """A small random head, nothing taught."""
    rng = np.random.default_rng(7)
    return {
        "mixing": (1 + rng.normal(size=DIM) / 8).astype(np.float32),
        "weight": (rng.normal(size=(WAYS, DIM)) / 8).astype(np.float32),
        "bias": np.zeros(WAYS, np.float32),
        "counts": np.zeros(WAYS, np.float32),
    }


def init_graph(state: dict[str, NDArray[np.float32]]) -> bytes:
    """init.onnx: no inputs, one output a tensor."""
    nodes = [
        helper.make_node(
            "Constant", [], [f"state.{name}"], value=numpy_helper.from_array(values, name)
        )
        for name, values in state.items()
    ]
    outputs: list[Port] = [(f"state.{k}", F32, list(v.shape)) for k, v in state.items()]
    return model("init", nodes, [], outputs, {})


def embed_graph(seed: int) -> bytes:
    """embed.onnx: relu(flatten(x) @ projection)."""
    nodes = [
        node("Flatten", "x", to="flat"),
        node("MatMul", "flat", "projection", to="mixed"),
        node("Relu", "mixed", to="features"),
    ]
    return model(
        "embed",
        nodes,
        [("x", F32, ["n", *INPUT_SHAPE])],
        [("features", F32, ["n", DIM])],
        {"projection": projection(seed)},
    )


def prototypical_predict() -> bytes:
    """predict.onnx: minus the squared distance to each prototype, less |features|^2."""
    nodes = distance_logits("state.prototypes", "state.counts", to="logits")
    inputs: list[Port] = [
        ("state.prototypes", F32, [WAYS, DIM]),
        ("state.counts", F32, [WAYS]),
        ("features", F32, ["n", DIM]),
    ]
    return model("predict", nodes, inputs, [("logits", F32, ["n", WAYS])], constants())


def prototypical_adapt() -> bytes:
    """adapt.onnx: running weighted means; the loss is that of the new state."""
    nodes = [
        *one_hot(),
        node("Add", "state.counts", "seen", to="next.counts"),
        node("Unsqueeze", "state.counts", "one_i", to="old_counts"),
        node("Mul", "state.prototypes", "old_counts", to="old_sums"),
        node("Transpose", "weighted", to="weighted_t"),
        node("MatMul", "weighted_t", "features", to="new_sums"),
        node("Add", "old_sums", "new_sums", to="sums"),
        node("Greater", "next.counts", "zero", to="used"),
        node("Where", "used", "next.counts", "one", to="safe"),
        node("Unsqueeze", "safe", "one_i", to="safe_column"),
        node("Div", "sums", "safe_column", to="next.prototypes"),
        *distance_logits("next.prototypes", "next.counts", to="logits"),
        *weighted_loss("logits"),
    ]
    inputs: list[Port] = [
        ("state.prototypes", F32, [WAYS, DIM]),
        ("state.counts", F32, [WAYS]),
        *_support_ports(),
    ]
    outputs: list[Port] = [
        ("next.prototypes", F32, [WAYS, DIM]),
        ("next.counts", F32, [WAYS]),
        ("loss", F32, []),
    ]
    return model("adapt", nodes, inputs, outputs, constants())


def gradient_predict() -> bytes:
    """predict.onnx: (features * mixing) @ weight.T + bias."""
    nodes = _head_logits("state.counts", to="logits")
    inputs: list[Port] = [*_gradient_state_ports("state"), ("features", F32, ["n", DIM])]
    return model("predict", nodes, inputs, [("logits", F32, ["n", WAYS])], constants())


def gradient_adapt() -> bytes:
    """adapt.onnx: one step of gradient descent on the weighted mean cross-entropy."""
    nodes = [
        *one_hot(),
        node("Max", "state.counts", "seen", to="next.counts"),
        *_head_logits("next.counts", to="logits"),
        *weighted_loss("logits"),
        # d loss / d logits = weights * (softmax - hot) / sum(weights)
        node("Exp", "log_p", to="p"),
        node("Sub", "p", "hot", to="gap"),
        node("Mul", "gap", "weights_column", to="weighted_gap"),
        node("Div", "weighted_gap", "total_weight", to="d_logits"),
        node("Transpose", "d_logits", to="d_logits_t"),
        node("MatMul", "d_logits_t", "mixed", to="d_weight"),
        node("ReduceSum", "d_logits", "zero_i", to="d_bias", keepdims=0),
        node("MatMul", "d_logits", "state.weight", to="d_mixed"),
        node("Mul", "d_mixed", "features", to="d_mixing_rows"),
        node("ReduceSum", "d_mixing_rows", "zero_i", to="d_mixing", keepdims=0),
    ]
    for name in ("mixing", "weight", "bias"):
        nodes.append(node("Mul", f"d_{name}", "learning_rate", to=f"step_{name}"))
        nodes.append(node("Sub", f"state.{name}", f"step_{name}", to=f"next.{name}"))
    inputs: list[Port] = [*_gradient_state_ports("state"), *_support_ports()]
    outputs: list[Port] = [*_gradient_state_ports("next"), ("loss", F32, [])]
    return model("adapt", nodes, inputs, outputs, constants())


def prototypical_graphs(init: dict[str, NDArray[np.float32]], *, seed: int) -> dict[str, bytes]:
    """All four graphs of the closed form."""
    return {
        "init.onnx": init_graph(init),
        "embed.onnx": embed_graph(seed),
        "adapt.onnx": prototypical_adapt(),
        "predict.onnx": prototypical_predict(),
    }


def gradient_graphs(*, seed: int) -> dict[str, bytes]:
    """All four graphs of the gradient learner."""
    return {
        "init.onnx": init_graph(gradient_init()),
        "embed.onnx": embed_graph(seed),
        "adapt.onnx": gradient_adapt(),
        "predict.onnx": gradient_predict(),
    }


def prototypical_draft(name: str, labels: tuple[str, ...] = ()) -> BundleDraft:
    """What the manifest of the closed form says."""
    state = (
        TensorSpec(name="prototypes", shape=(WAYS, DIM), role="slot"),
        TensorSpec(name="counts", shape=(WAYS,), role="personal"),
    )
    return _draft(name, "tiny-prototypical", state, labels)


def gradient_draft(name: str) -> BundleDraft:
    """What the manifest of the gradient learner says."""
    state = (
        TensorSpec(name="mixing", shape=(DIM,), role="shared"),
        TensorSpec(name="weight", shape=(WAYS, DIM), role="slot"),
        TensorSpec(name="bias", shape=(WAYS,), role="slot"),
        TensorSpec(name="counts", shape=(WAYS,), role="personal"),
    )
    return _draft(name, "tiny-head", state, ())


def _draft(
    name: str, learner: str, state: tuple[TensorSpec, ...], labels: tuple[str, ...]
) -> BundleDraft:
    gradient = learner == "tiny-head"
    return BundleDraft(
        name=name,
        version=1,
        parent=None,
        learner=learner,
        adaptation="gradient" if gradient else "closed_form",
        steps=STEPS if gradient else 1,
        ways=WAYS,
        labels=labels,
        input=InputSpec(shape=INPUT_SHAPE, description="random numbers"),
        features=FeaturesSpec(shape=(DIM,)),
        state=state,
        quantization={"embed": "float32", "init": "float32", "target": "any"},
        quality={},
        provenance={"made_by": "tests/golden/make_golden.py"},
    )


def node(operator: str, *inputs: str, to: str, **attributes: int) -> onnx.NodeProto:
    return helper.make_node(operator, list(inputs), [to], **attributes)


def constants() -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    return {
        "slots": np.arange(WAYS, dtype=np.int64)[None, :],
        "zero_i": np.array([0], np.int64),
        "one_i": np.array([1], np.int64),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "two": np.array(2, np.float32),
        "unused_logit": np.array(UNUSED_LOGIT, np.float32),
        "learning_rate": np.array(LEARNING_RATE, np.float32),
    }


def _support_ports() -> list[Port]:
    return [("features", F32, ["n", DIM]), ("labels", I64, ["n"]), ("weights", F32, ["n"])]


def _gradient_state_ports(prefix: str) -> list[Port]:
    shapes: dict[str, list[int | str]] = {
        "mixing": [DIM], "weight": [WAYS, DIM], "bias": [WAYS], "counts": [WAYS],
    }  # fmt: skip
    return [(f"{prefix}.{name}", F32, shape) for name, shape in shapes.items()]


def one_hot() -> list[onnx.NodeProto]:
    """hot `[n, ways]`, weighted `[n, ways]`, seen `[ways]`."""
    return [
        node("Unsqueeze", "labels", "one_i", to="labels_column"),
        node("Equal", "labels_column", "slots", to="is_slot"),
        helper.make_node("Cast", ["is_slot"], ["hot"], to=F32),
        node("Unsqueeze", "weights", "one_i", to="weights_column"),
        node("Mul", "hot", "weights_column", to="weighted"),
        node("ReduceSum", "weighted", "zero_i", to="seen", keepdims=0),
    ]


def _masked(logits: str, counts: str, *, to: str) -> list[onnx.NodeProto]:
    return [
        node("Greater", counts, "zero", to="in_use"),
        node("Where", "in_use", logits, "unused_logit", to=to),
    ]


def distance_logits(prototypes: str, counts: str, *, to: str) -> list[onnx.NodeProto]:
    return [
        node("Mul", prototypes, prototypes, to="squares"),
        node("ReduceSum", "squares", "one_i", to="norms", keepdims=0),
        node("Transpose", prototypes, to="prototypes_t"),
        node("MatMul", "features", "prototypes_t", to="products"),
        node("Mul", "products", "two", to="twice"),
        node("Sub", "twice", "norms", to="closeness"),
        *_masked("closeness", counts, to=to),
    ]


def _head_logits(counts: str, *, to: str) -> list[onnx.NodeProto]:
    return [
        node("Mul", "features", "state.mixing", to="mixed"),
        node("Transpose", "state.weight", to="weight_t"),
        node("MatMul", "mixed", "weight_t", to="products"),
        node("Add", "products", "state.bias", to="scores"),
        *_masked("scores", counts, to=to),
    ]


def weighted_loss(logits: str) -> list[onnx.NodeProto]:
    """Weighted mean cross-entropy in nats; leaves log_p and total_weight."""
    return [
        node("LogSoftmax", logits, to="log_p", axis=1),
        node("Mul", "weighted", "log_p", to="weighted_log_p"),
        node("ReduceSum", "weighted_log_p", to="log_likelihood", keepdims=0),
        node("ReduceSum", "weights", to="total_weight", keepdims=0),
        node("Neg", "log_likelihood", to="total_loss"),
        node("Div", "total_loss", "total_weight", to="loss"),
    ]


def model(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    constants: dict[str, NDArray[np.float32] | NDArray[np.int64]] | dict[str, NDArray[np.float32]],
) -> bytes:
    read = {source for node in nodes for source in node.input}
    graph = helper.make_graph(
        list(nodes),
        name,
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
        [numpy_helper.from_array(v, k) for k, v in constants.items() if k in read],
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
