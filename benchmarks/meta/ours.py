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


TASKS_AT_ONCE = 8
"""Whose images go through the body together: few enough for the processor's caches."""


def features_of(weights: State, x: Tensor) -> Tensor:
    """`[n, 1, 28, 28]` images of one task -> `[n, 64]`."""
    for i in range(BLOCKS):
        x = functional.conv2d(x, weights[f"body.{3 * i}.weight"], stride=2, padding=1)
        # in plain operations: the second derivative of F.batch_norm is wrong under vmap
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        x = (x - mean) * torch.rsqrt(variance + NORM_EPS)
        scale, shift = weights[f"body.{3 * i + 1}.weight"], weights[f"body.{3 * i + 1}.bias"]
        x = functional.relu(x * scale[:, None, None] + shift[:, None, None])
    return x.mean((2, 3))


def features_of_tasks(weights: State, x: Tensor) -> Tensor:
    """`[tasks, n, 1, 28, 28]` -> `[tasks, n, 64]`, all by one set of weights.

    A task's channels are one group of each convolution, so that batch norm, which looks at channels
    one by one, has the statistics of each task.
    """
    tasks = len(x)
    maps = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
    for i in range(BLOCKS):
        rows = weights[f"body.{3 * i}.weight"].permute(0, 2, 3, 1)
        kernels = rows.expand(tasks, *rows.shape).flatten(0, 1).permute(0, 3, 1, 2)
        maps = functional.conv2d(maps, kernels, stride=2, padding=1, groups=tasks)
        scale, shift = weights[f"body.{3 * i + 1}.weight"], weights[f"body.{3 * i + 1}.bias"]
        maps = functional.batch_norm(
            maps, None, None, scale.repeat(tasks), shift.repeat(tasks), training=True, eps=NORM_EPS
        )
        maps = functional.relu(maps, inplace=True)
    return maps.mean((2, 3)).unflatten(1, (tasks, -1)).transpose(0, 1)


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

    def embed_tasks(self, x: Tensor) -> Tensor:
        """ANIL's features `[tasks, n, 64]`, with the statistics of each task."""
        weights = dict(zip(self.names, self.weights, strict=True))
        parts = [features_of_tasks(weights, part) for part in x.split(TASKS_AT_ONCE)]
        return torch.cat(parts)

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
            z = learner.embed_tasks(torch.cat([support, query], dim=1))
            support, query = z.split(WAYS, dim=1)
        if self.compiled is None:
            logits, _ = mapped_predictions(learner, WAYS, support, tasks.support_y, query)
            loss = functional.cross_entropy(logits.flatten(0, 1), tasks.query_y.flatten())
        else:
            found = self.compiled(learner, WAYS, support, tasks.support_y, query, tasks.query_y)
            loss = found.surrogate
        grads = torch.autograd.grad(loss, list(learner.weights))
        return dict(zip(learner.names, grads, strict=True))
