"""The query loss of embedded episodes with its gradient, a few episodes at a time.

Feature maps and derivatives of a few episodes stay in the processor's caches. The work on each part
can be one flat compiled graph: `torch.compile` cannot look into derivatives of derivatives, so that
they are first traced into plain operations (`make_fx`), as the exporter does; the compiler then
joins what lies between the products of matrices into few passes through memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch._functorch.compile_utils import fx_graph_cse
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from export.episode_loss import mapped_predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from export.learners.base import Learner

CHUNK = 8
"""Episodes of one part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodesLoss:
    """What `EpisodesInParts` gives.

    Attributes:
        surrogate: `[]`; its gradient is that of the loss. Its value means nothing.
        loss: Mean cross-entropy on the query sets, in nats.
        accuracy: On the query sets, 0..1.
    """

    surrogate: Tensor
    loss: float
    accuracy: float


class EpisodesInParts:
    """Computes loss and gradient part by part.

    Compiled, it compiles on the first call with episodes of a new shape, and then runs that.
    """

    def __init__(self, how: Literal["plain", "traced", "compiled"], *, chunk: int = CHUNK) -> None:
        """Compile nothing yet.

        Args:
            how: Run the learner's operations as they are; trace them, and run the graph as it is;
                or compile the graph.
            chunk: Episodes of one part.
        """
        self._how, self._chunk = how, chunk
        self._graphs: WeakKeyDictionary[Learner, dict[Hashable, Callable[..., Any]]]
        self._graphs = WeakKeyDictionary()

    def __call__(
        self,
        learner: Learner,
        ways: int,
        support: Tensor,
        labels: Tensor,
        query: Tensor,
        truth: Tensor,
    ) -> EpisodesLoss:
        """Loss, accuracy and gradient on episodes that share a shape.

        Args:
            learner: Of classes. Once it is traced, its buffers are taken for constants.
            ways: Classes in each episode.
            support: `[episodes, ways * shots, *feature_shape]`.
            labels: int64 `[episodes, ways * shots]`.
            query: `[episodes, ways * queries, *feature_shape]`.
            truth: int64 `[episodes, ways * queries]`.
        """
        parameters = dict(learner.named_parameters())
        inputs = (support.detach(), labels, query.detach(), truth)
        sums: list[Tensor] = []
        feature_grads: list[tuple[Tensor, Tensor]] = []
        loss, accuracy = 0.0, 0.0
        with torch.no_grad():
            for parts in zip(*(torch.split(tensor, self._chunk) for tensor in inputs), strict=True):
                graph = self._graph(learner, ways, parts)
                share = len(parts[0]) / len(support)
                one_loss, hits, *grads = graph(*parameters.values(), *parts)
                loss, accuracy = loss + share * one_loss.item(), accuracy + share * hits.item()
                own, by_features = grads[: len(parameters)], grads[len(parameters) :]
                sums = [
                    share * grad if not sums else sums[i] + share * grad
                    for i, grad in enumerate(own)
                ]
                if by_features:
                    feature_grads.append((share * by_features[0], share * by_features[1]))
        surrogate = torch.stack(
            [(p * g).sum() for p, g in zip(parameters.values(), sums, strict=True)]
        ).sum()
        if feature_grads:
            by_support, by_query = (torch.cat(g) for g in zip(*feature_grads, strict=True))
            surrogate = surrogate + (support * by_support).sum() + (query * by_query).sum()
        return EpisodesLoss(surrogate=surrogate, loss=loss, accuracy=accuracy)

    def _graph(self, learner: Learner, ways: int, parts: tuple[Tensor, ...]) -> Callable[..., Any]:
        if self._how == "plain":
            return _gradients(learner, ways)
        graphs = self._graphs.setdefault(learner, {})
        key = (ways, *((tuple(t.shape), t.dtype) for t in parts))
        if key not in graphs:
            traced = _trace(learner, ways, parts)
            graphs[key] = (
                torch.compile(traced, dynamic=False) if self._how == "compiled" else traced
            )
        return graphs[key]


class _Episodes(nn.Module):
    """`mapped_predictions` as the `forward` that `functional_call` asks for."""

    def __init__(self, learner: Learner, ways: int) -> None:
        super().__init__()
        self.learner, self.ways = learner, ways

    def forward(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        return mapped_predictions(self.learner, self.ways, support, labels, query)[0]


def _gradients(learner: Learner, ways: int) -> Callable[..., tuple[Tensor, ...]]:
    """(parameters..., support, labels, query, truth) -> (loss, accuracy, gradients...)."""
    module = _Episodes(learner, ways)
    names = [name for name, _ in module.named_parameters()]

    def joint(*tensors: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            values = [tensor.detach().requires_grad_() for tensor in tensors[: len(names)]]
            support, labels, query, truth = tensors[len(names) :]
            if learner.has_embed:
                support, query = (t.detach().requires_grad_() for t in (support, query))
            named = dict(zip(names, values, strict=True))
            logits = torch.func.functional_call(module, named, (support, labels, query))
            loss = functional.cross_entropy(logits.flatten(0, 1), truth.flatten())
            wanted = [*values, support, query] if learner.has_embed else values
            grads = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
        hits = (logits.detach().argmax(-1) == truth).to(loss.dtype).mean()
        return (loss.detach(), hits, *grads)

    return joint


def _trace(learner: Learner, ways: int, parts: tuple[Tensor, ...]) -> torch.fx.GraphModule:
    """`_gradients` as plain operations, for inputs of these shapes."""
    examples = [parameter.detach() for parameter in learner.parameters()]
    with torch.no_grad():
        traced = make_fx(
            _gradients(learner, ways), tracing_mode="fake", _allow_non_fake_inputs=True
        )(*examples, *parts)
    traced.graph.eliminate_dead_code()
    return torch.fx.GraphModule(traced, fx_graph_cse(traced.graph))
