"""The same iterations in our trainer: learners on its contract, its query loss, its compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from network import BLOCKS, HIDDEN, NORM_EPS, WAYS
from torch import Tensor, nn
from torch.nn import functional

from export.batched.conv4 import channels_last
from export.batched.convolution import convolve
from export.batched.norm import Norm, normalised_relu
from export.learners.base import Learner, LearnerOptions, Role, State
from export.learners.gradient import gradient_step
from export.learners.many_tasks import ManyTasks, gradient_step_of_tasks

if TYPE_CHECKING:
    from network import Conv4, Tasks

    from export.compiled import EpisodesInParts

Gradients = dict[str, Tensor]
_CONVOLUTION, _IMAGES = 4, 5  # axes of its weights, and of the images of tasks
_HEAD = ("head.weight", "head.bias")

BATCH_NORM = Norm(run=1, eps=NORM_EPS)


def features_of(weights: State, x: Tensor) -> Tensor:
    """`[n, 1, 28, 28]` images of one task -> `[n, 64]`, in plain operations."""
    for i in range(BLOCKS):
        x = functional.conv2d(x, weights[f"body.{3 * i}.weight"], stride=2, padding=1)
        # in plain operations: the second derivative of F.batch_norm is wrong under vmap
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        x = (x - mean) * torch.rsqrt(variance + NORM_EPS)
        scale, shift = weights[f"body.{3 * i + 1}.weight"], weights[f"body.{3 * i + 1}.bias"]
        x = functional.relu(x * scale[:, None, None] + shift[:, None, None])
    return x.mean((2, 3))


def features_of_tasks(weights: State, x: Tensor) -> Tensor:
    """`[tasks, n, 1, 28, 28]` -> `[tasks, n, 64]`, by each task's weights and its statistics."""
    maps = x.movedim(2, -1).contiguous()
    for i in range(BLOCKS):
        maps = convolve(maps, weights[f"body.{3 * i}.weight"], stride=2, padding=1)
        scale, shift = weights[f"body.{3 * i + 1}.weight"], weights[f"body.{3 * i + 1}.bias"]
        pixels = maps.flatten(1, 3)[:, None]  # one set: all images of a task
        maps = normalised_relu(pixels, scale, shift, BATCH_NORM).view(maps.shape)
    return maps.mean((2, 3))


class MamlLearner(Learner, ManyTasks):
    """MAML on the network of `network.Conv4`."""

    name = "benchmark"
    adaptation = "gradient"
    has_embed = False
    roles: ClassVar[dict[str, Role]] = {"counts": "personal"}

    def __init__(self, network: Conv4, steps: int, rate: float) -> None:
        super().__init__(LearnerOptions(hidden=HIDDEN, ways=WAYS, steps=steps))
        self.rate = rate
        self.names = tuple(dict(network.named_parameters()))
        self.weights = nn.ParameterList(p.detach().clone() for p in network.parameters())

    def init(self, ways: int) -> State:
        """All weights."""
        state = dict(zip(self.names, self.weights, strict=True))
        return {**state, "counts": self.weights[0].new_zeros(ways)}

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        """One step of gradient descent."""
        rates = dict.fromkeys(self.names, self.rate)
        return gradient_step(self, state, features, labels, weights, rates)

    def predict(self, state: State, features: Tensor) -> Tensor:
        """Logits."""
        return features_of(state, features) @ state["head.weight"].T + state["head.bias"]

    def init_tasks(self, ways: int, tasks: int) -> State:
        """All weights, shared by the tasks."""
        return _of_tasks(self.init(ways), tasks)

    def adapt_tasks(self, state: State, features: Tensor, labels: Tensor) -> State:
        """One step of gradient descent of each task."""
        rates = dict.fromkeys(self.names, self.rate)
        return gradient_step_of_tasks(self, state, features, labels, rates)

    def predict_tasks(self, state: State, features: Tensor) -> Tensor:
        """Logits of each task."""
        return _head_of_tasks(state, features_of_tasks(state, features))


class AnilLearner(MamlLearner):
    """ANIL on the same network, as learn2learn's example has it.

    All images of a task, support and query, share the statistics of batch norm. So `features` of
    the support set holds them all, the queries last, and their embedding stays in the state.
    """

    def adapt_tasks(self, state: State, features: Tensor, labels: Tensor) -> State:
        """One step on the head of each task."""
        if "z" not in state:
            state = {**state, "z": features_of_tasks(state, features)}
        rates = dict.fromkeys(_HEAD, self.rate)
        support = state["z"][:, : labels.shape[1]]
        return gradient_step_of_tasks(self, state, support, labels, rates)

    def predict_tasks(self, state: State, features: Tensor) -> Tensor:
        """Logits of embedded examples; for images, of the queries among those in the state."""
        images = features.dim() == _IMAGES
        return _head_of_tasks(state, state["z"][:, -features.shape[1] :] if images else features)


def _head_of_tasks(state: State, z: Tensor) -> Tensor:
    return torch.baddbmm(state["head.bias"][:, None], z, state["head.weight"].transpose(1, 2))


def _of_tasks(weights: State, tasks: int) -> State:
    state = {}
    for name, tensor in weights.items():
        last = channels_last(tensor) if tensor.dim() == _CONVOLUTION else tensor
        state[name] = last.expand(tasks, *last.shape)
    return state


class Ours:
    """One learner and how its meta-gradient is taken."""

    def __init__(
        self, network: Conv4, steps: int, rate: float, *, head_only: bool, parts: EpisodesInParts
    ) -> None:
        learner = AnilLearner if head_only else MamlLearner
        self.learner = learner(network, steps, rate)
        self.head_only, self.parts = head_only, parts

    def meta_gradient(self, tasks: Tasks) -> Gradients:
        """Mean gradient over tasks, by name."""
        images = torch.cat([tasks.support, tasks.query], 1) if self.head_only else tasks.support
        found = self.parts(self.learner, WAYS, images, tasks.support_y, tasks.query, tasks.query_y)
        grads = torch.autograd.grad(found.surrogate, list(self.learner.weights))
        return dict(zip(self.learner.names, grads, strict=True))
