"""A learner's functions as plain-inference ONNX graphs with a symbolic batch."""

from __future__ import annotations

import copy
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from export.calibration import predict_calibrated
from export.decompositions import decomposition_table
from export.learners.adaptation import predict_both
from export.onnx_bytes import OPSET, serialize
from export.stored_weights import PREFIX, bind, large_weights
from export.tracing import trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from export.learners.base import Learner

EXAMPLE_BATCH = 7  # traced as a symbol, whatever other axes have the same size


def export_graphs(
    learner: Learner, *, table: Mapping[Any, Callable[..., Any]] | None = None
) -> dict[str, bytes]:
    """Export `embed.onnx` (unless nothing is frozen), `adapt.onnx` and `predict.onnx`, in float32.

    Names and shapes are those of docs/ARCHITECTURE.md section 3. The starting state is not among
    them: it may travel in fewer bits, see `export.init_graph`.

    Args:
        learner: A trained learner; left as it was.
        table: Decompositions in place of our own; tests use it to plant a wrong gradient.
    """
    frozen = copy.deepcopy(learner).to("cpu", torch.float32).eval().requires_grad_(False)
    table = decomposition_table() if table is None else table
    state = {k: v.detach().clone() for k, v in frozen.init(frozen.options.ways).items()}
    names = list(state)
    # the graphs' own large weights are traced as inputs and become constants at the end, so that
    # nothing folds or copies them, and each can be stored in few bits (export.stored_weights)
    weights = large_weights(frozen)
    x = torch.rand(EXAMPLE_BATCH, *frozen.options.input_shape)
    features = frozen.embed(x)
    regression = frozen.options.task == "regression"
    answers = (
        torch.rand(EXAMPLE_BATCH, frozen.options.outputs)
        if regression
        else torch.arange(EXAMPLE_BATCH) % frozen.options.ways
    )
    examples = [features, answers, torch.ones(EXAMPLE_BATCH)]
    if frozen.adaptation == "sequential":
        examples = [tensor[:1] for tensor in examples]  # n is 1 in each call

    def run(method: Callable[..., Any], args: Sequence[Tensor]) -> Any:
        first, second = len(weights), len(weights) + len(names)
        own = dict(zip((f"learner.{name}" for name in weights), args[:first], strict=True))
        tensors = dict(zip(names, args[first:second], strict=True))
        rest = (tensors, *args[second:])
        return torch.func.functional_call(_Method(frozen, method), own, rest)

    def adapt(*args: Tensor) -> tuple[Tensor, ...]:
        after, loss = run(type(frozen).adapt, args)
        return (*(after[name] for name in names), loss)

    # without a fit the graph has no temperature at all
    prediction_of = predict_calibrated if frozen.calibration.any() else predict_both

    def predict(*args: Tensor) -> tuple[Tensor, ...]:
        prediction, variance = run(prediction_of, args)
        return (prediction,) if variance is None else (prediction, variance)

    state_in = [*(f"{PREFIX}{name}" for name in weights), *(f"state.{name}" for name in names)]
    state_out = [f"next.{name}" for name in names]
    current = [*weights.values(), *state.values()]
    unbatched = [False] * len(current)
    graphs = {}
    if frozen.has_embed:
        # not decomposed: the exporter folds whole batch norms into the convolutions
        graphs["embed.onnx"] = _convert(_Embed(frozen), [x], [True], ["x"], ["features"])
    support = [*current, *examples]
    support_batched = [*unbatched, *[frozen.adaptation != "sequential"] * 3]
    with _quiet():
        traced = trace(adapt, support, support_batched, table)
    graphs["adapt.onnx"] = _convert(
        traced,
        support,
        support_batched,
        [*state_in, "features", "targets" if regression else "labels", "weights"],
        [*state_out, "loss"],
    )
    query, query_batched = [*current, features], [*unbatched, True]
    with _quiet():
        traced = trace(predict, query, query_batched, table)
    graphs["predict.onnx"] = _convert(
        traced,
        query,
        query_batched,
        [*state_in, "features"],
        ["mean" if regression else "logits", *["variance"] * frozen.has_variance],
    )
    return graphs


class _Embed(torch.nn.Module):
    """`Learner.embed` as the `forward` that `torch.export` asks for."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, x: Tensor) -> Tensor:
        return self.learner.embed(x)


class _Method(torch.nn.Module):
    """A function of a learner as the `forward` that `functional_call` asks for."""

    def __init__(self, learner: Learner, method: Callable[..., Any]) -> None:
        super().__init__()
        self.learner, self.method = learner, method

    def forward(self, *args: Any) -> Any:
        return self.method(self.learner, *args)


def _convert(
    module: torch.nn.Module,
    examples: Sequence[Tensor],
    batched: Sequence[bool],
    input_names: Sequence[str],
    output_names: Sequence[str],
) -> bytes:
    with _quiet():
        batch = torch.export.Dim("n", min=1)
        program = torch.export.export(
            module,
            tuple(examples),
            dynamic_shapes=tuple({0: batch} if is_batched else {} for is_batched in batched),
            strict=False,
        )
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(input_names),
            output_names=list(output_names),
            opset_version=OPSET,
            verbose=False,
        )
    if exported is None:  # pragma: no cover - only with dynamo=False
        msg = "torch.onnx.export gave no program"
        raise RuntimeError(msg)
    model = exported.model_proto
    bind(
        model,
        {
            name.removeprefix(PREFIX): example.numpy()
            for name, example in zip(input_names, examples, strict=True)
            if name.startswith(PREFIX)
        },
    )
    return serialize(model, batch_inputs=_names_where(input_names, batched))


def _names_where(names: Sequence[str], keep: Sequence[bool]) -> list[str]:
    return [name for name, kept in zip(names, keep, strict=True) if kept]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's notes (missing torchvision, deprecations inside torch itself)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
