"""Learners that adapt to many tasks at once in operations of their own.

`torch.func.vmap` maps any learner over tasks. Where every weight of a network adapts, its
convolutions and their second derivatives come out slow; such a learner says here how it computes
the same for all tasks together (`export.batched`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

from export.learners.base import one_hot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from export.learners.base import State


class ManyTasks(ABC):
    """What a `Learner` that takes gradient steps adds to compute many tasks at once.

    A state of tasks holds the tensors of `init`, each with a first axis of tasks and in whatever
    order of axes this learner likes. What is computed is what `adapt` and `predict` compute for
    each task with all weights 1, to rounding.
    """

    @property
    @abstractmethod
    def steps(self) -> int:
        """See `Learner`."""

    @abstractmethod
    def init_tasks(self, ways: int, tasks: int) -> State:
        """The starting state of each task; expanded, not copied, where tasks share it."""

    @abstractmethod
    def adapt_tasks(self, state: State, features: Tensor, labels: Tensor) -> State:
        """One inner step of each task.

        Args:
            state: Of tasks.
            features: `[tasks, n, *feature_shape]`.
            labels: int64 `[tasks, n]`.
        """

    @abstractmethod
    def predict_tasks(self, state: State, features: Tensor) -> Tensor:
        """Logits `[tasks, n, ways]`."""


def counts_after(state: State, labels: Tensor) -> Tensor:
    """`counts` of a gradient learner once these labels `[tasks, n]` are taken in."""
    counts = state["counts"]
    hot = one_hot(labels.flatten(), counts.shape[1], counts.dtype)
    return torch.maximum(counts, hot.view(*labels.shape, -1).sum(1))


def gradient_step_of_tasks(
    learner: ManyTasks,
    state: State,
    features: Tensor,
    labels: Tensor,
    rates: Mapping[str, Tensor | float],
    *,
    first_order: bool = False,
) -> State:
    """`export.learners.gradient.gradient_step` of each task.

    It can be differentiated through where gradients are enabled; else no graph is kept.

    Args:
        learner: Whose `predict_tasks` gives the logits.
        state: Of tasks.
        features: `[tasks, n, *feature_shape]`.
        labels: int64 `[tasks, n]`.
        rates: Step sizes, each a number or of a shape that spreads to its tensor's.
        first_order: Take the gradients for constants in the outer loop.
    """
    outer = torch.is_grad_enabled()
    with torch.enable_grad():
        tensors = {
            name: tensor if outer and tensor.requires_grad else tensor.detach().requires_grad_()
            for name, tensor in state.items()
            if name in rates
        }
        counts = counts_after(state, labels)
        logits = learner.predict_tasks({**state, **tensors, "counts": counts}, features)
        picked = torch.log_softmax(logits, -1).gather(-1, labels[..., None])
        loss = -picked.mean((1, 2)).sum()  # a task's weights change its own loss alone
        grads = torch.autograd.grad(
            loss, list(tensors.values()), create_graph=outer and not first_order
        )
    steps = zip(tensors.items(), grads, strict=True)
    after = {name: tensor - rates[name] * grad for (name, tensor), grad in steps}
    return {**state, **after, "counts": counts}
