"""The same iterations in our trainer: learners on its contract, its query loss, its compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from network import BLOCKS, HIDDEN, NORM_EPS, WAYS
from torch import Tensor, nn
from torch.nn import functional

from export.episode_loss import mapped_predictions
from export.learners.base import Learner, LearnerOptions, Role, State
from export.learners.gradient import gradient_step

if TYPE_CHECKING:
    from network import Conv4, Tasks

    from export.compiled import CompiledEpisodes

Gradients = dict[str, Tensor]
_HEAD = ("head.weight", "head.bias")


def features_of(weights: State, x: Tensor, *, tasks: int = 1) -> Tensor:
    """`[n, 1, 28, 28]` -> `[n, 64]`; each n / tasks neighbours are normalised by themselves."""
    for i in range(BLOCKS):
        x = functional.conv2d(x, weights[f"body.{3 * i}.weight"], stride=2, padding=1)
        by_task = x.unflatten(0, (tasks, -1))
        # in plain operations: the second derivative of F.batch_norm is wrong under vmap
        variance, mean = torch.var_mean(by_task, (1, 3, 4), correction=0, keepdim=True)
        x = ((by_task - mean) * torch.rsqrt(variance + NORM_EPS)).flatten(0, 1)
        scale, shift = weights[f"body.{3 * i + 1}.weight"], weights[f"body.{3 * i + 1}.bias"]
        x = functional.relu(x * scale[:, None, None] + shift[:, None, None])
    return x.mean((2, 3))


class BenchmarkLearner(Learner):
    """MAML on the network of `network.Conv4`, or ANIL where only its head adapts."""

    name = "benchmark"
    adaptation = "gradient"
    roles: ClassVar[dict[str, Role]] = {"counts": "personal"}

    def __init__(self, network: Conv4, steps: int, rate: float, *, head_only: bool) -> None:
        super().__init__(LearnerOptions(hidden=HIDDEN, ways=WAYS, steps=steps))
        self.rate, self.head_only = rate, head_only
        self.has_embed = head_only  # type: ignore[misc]
        self.names = tuple(dict(network.named_parameters()))
        self.weights = nn.ParameterList(p.detach().clone() for p in network.parameters())

    def init(self, ways: int) -> State:
        """All weights, or those of the head."""
        state = dict(zip(self.names, self.weights, strict=True))
        if self.head_only:
            state = {name: state[name] for name in _HEAD}
        return {**state, "counts": self.weights[0].new_zeros(ways)}

    def embed_tasks(self, x: Tensor, tasks: int) -> Tensor:
        """ANIL's features, with the statistics of each task."""
        return features_of(dict(zip(self.names, self.weights, strict=True)), x, tasks=tasks)

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        """One step of gradient descent."""
        rates = {name: self.rate for name in state if name != "counts"}
        return gradient_step(self, state, features, labels, weights, rates)

    def predict(self, state: State, features: Tensor) -> Tensor:
        """Logits."""
        z = features if self.head_only else features_of(state, features)
        return z @ state["head.weight"].T + state["head.bias"]


class Ours:
    """One learner and how its meta-gradient is taken."""

    def __init__(
        self,
        network: Conv4,
        steps: int,
        rate: float,
        *,
        head_only: bool,
        compiled: CompiledEpisodes | None,
    ) -> None:
        self.learner = BenchmarkLearner(network, steps, rate, head_only=head_only)
        self.compiled = compiled

    def meta_gradient(self, tasks: Tasks) -> Gradients:
        """Mean gradient over tasks, by name."""
        learner = self.learner
        support, query = tasks.support, tasks.query
        if learner.head_only:
            images = torch.cat([support, query], dim=1)
            z = learner.embed_tasks(images.flatten(0, 1), len(images))
            support, query = z.unflatten(0, images.shape[:2]).split(WAYS, dim=1)
        if self.compiled is None:
            logits, _ = mapped_predictions(learner, WAYS, support, tasks.support_y, query)
            loss = functional.cross_entropy(logits.flatten(0, 1), tasks.query_y.flatten())
        else:
            found = self.compiled(learner, WAYS, support, tasks.support_y, query, tasks.query_y)
            loss = found.surrogate
        grads = torch.autograd.grad(loss, list(learner.weights))
        return dict(zip(learner.names, grads, strict=True))
