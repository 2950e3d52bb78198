"""Learners for tests of the contract's rarer sides: order-dependent, values, variances."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from export.learners.base import (
    Learner,
    LearnerOptions,
    Role,
    State,
    Task,
    mask_unused,
    one_hot,
    support_loss,
)


class Recency(Learner):
    """A slot's prototype moves by a learned part of the way to each new example, in order."""

    name = "recency"
    adaptation = "sequential"
    order_invariant = False
    roles: ClassVar[dict[str, Role]] = {"prototypes": "slot", "counts": "personal"}

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.dim = options.hidden
        inputs = torch.zeros(options.input_shape).numel()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(inputs, self.dim))
        self.pull = nn.Parameter(torch.tensor(0.3))

    def init(self, ways: int) -> State:
        return {
            "prototypes": self.pull.new_zeros(ways, self.dim),
            "counts": self.pull.new_zeros(ways),
        }

    def embed(self, x: Tensor) -> Tensor:
        features: Tensor = self.backbone(x)
        return features

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        hot = one_hot(labels, state["counts"].shape[0], features.dtype)
        pull = torch.where(state["counts"] > 0, self.pull, 1.0) * hot[0]
        after = {
            "prototypes": state["prototypes"] + pull[:, None] * (features - state["prototypes"]),
            "counts": state["counts"] + hot[0],
        }
        return after, support_loss(self.predict(after, features), hot, weights)

    def predict(self, state: State, features: Tensor) -> Tensor:
        gap = features[:, None] - state["prototypes"]
        return mask_unused(-(gap * gap).sum(-1), state["counts"])


class LinearValues(Learner):
    """Gradient descent on a linear map; its variance shrinks with the examples seen."""

    name = "linear_values"
    adaptation = "gradient"
    tasks: ClassVar[tuple[Task, ...]] = ("regression",)
    roles: ClassVar[dict[str, Role]] = {"counts": "personal"}
    has_variance = True

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        inputs = torch.zeros(options.input_shape).numel()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(inputs, options.hidden), nn.Tanh())
        self.start = nn.Parameter(torch.zeros(options.hidden, options.outputs))
        self.rate = nn.Parameter(torch.tensor(0.1))

    def init(self, ways: int) -> State:
        return {"weight": self.start, "counts": self.start.new_zeros(ways)}

    def embed(self, x: Tensor) -> Tensor:
        features: Tensor = self.backbone(x)
        return features

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        def loss_of(weight: Tensor) -> Tensor:
            squares = ((features @ weight - labels) ** 2).sum(-1)
            return (weights * squares).sum() / weights.sum()

        grad, loss = torch.func.grad_and_value(loss_of)(state["weight"])
        counts = torch.maximum(state["counts"], weights.sum()[None])
        return {"weight": state["weight"] - self.rate * grad, "counts": counts}, loss

    def predict(self, state: State, features: Tensor) -> tuple[Tensor, Tensor]:
        mean = features @ state["weight"]
        spread = (features * features).sum(-1, keepdim=True) / (1 + state["counts"])
        return mean, spread.expand(mean.shape) + 0.1
