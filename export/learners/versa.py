"""VERSA: a network reads a class's examples and gives a posterior over its row of the head.

Gordon et al., "Meta-Learning Probabilistic Inference for Prediction", ICLR 2019.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from export.learners.base import one_hot, support_loss
from export.learners.frozen import ProjectedLearner, running_means, unit_rows
from export.learners.gaussian_softmax import gaussian_softmax
from export.learners.recipe import MIXED_60, Recipe, comparing_recipes

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import LearnerOptions, Role, State

INITIAL_SCALE = 10.0
INITIAL_LOG_VARIANCE = -5.0


class Versa(ProjectedLearner):
    """State: each class's pooled features and the Gaussian posterior of its row of the head.

    A class's posterior depends on its own examples alone: their mean, and the logarithm of their
    number, which the paper's network does not see; so that more examples can narrow it. The paper
    averages over samples of the head; the logits of a normal head are normal themselves, and
    their softmax has a closed form (`gaussian_softmax`).
    """

    name = "versa"
    adaptation = "closed_form"
    roles: ClassVar[dict[str, Role]] = {
        "head.mean": "personal",
        "head.variance": "personal",
        "head.bias": "personal",
        "pooled": "personal",
        "counts": "personal",
    }
    has_variance = True
    defaults: ClassVar[dict[str, int | float]] = {"dim": 128, "units": 64}
    recipes: ClassVar[dict[str, Recipe]] = comparing_recipes(MIXED_60)

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        units = self.size("units")
        self.hidden = nn.Linear(self.dim + 1, units)
        self.generate = nn.Linear(units, 2 * self.dim + 1)
        nn.init.zeros_(self.generate.weight)
        nn.init.zeros_(self.generate.bias)
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))

    def init(self, ways: int) -> State:
        like = self.log_scale
        return {
            "head.mean": like.new_zeros(ways, self.dim),
            "head.variance": like.new_zeros(ways, self.dim),
            "head.bias": like.new_zeros(ways),
            "pooled": like.new_zeros(ways, self.dim),
            "counts": like.new_zeros(ways),
        }

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        rows = unit_rows(features)
        pooled, counts = running_means(state["pooled"], state["counts"], rows, labels, weights)
        used = counts > 0
        shots = torch.log(torch.where(used, counts, 1.0))[:, None]
        directions = unit_rows(pooled)
        made = self.generate(torch.relu(self.hidden(torch.cat([directions, shots], dim=-1))))
        mean = directions + made[:, : self.dim]
        variance = torch.exp(INITIAL_LOG_VARIANCE + made[:, self.dim : -1])
        after = {
            "head.mean": torch.where(used[:, None], mean, 0.0),
            "head.variance": torch.where(used[:, None], variance, 0.0),
            "head.bias": torch.where(used, made[:, -1], 0.0),
            "pooled": pooled,
            "counts": counts,
        }
        hot = one_hot(labels, counts.shape[0], features.dtype)
        return after, support_loss(self.predict(after, features)[0], hot, weights)

    def predict(self, state: State, features: Tensor) -> tuple[Tensor, Tensor]:
        rows, scale = unit_rows(features), torch.exp(self.log_scale)
        mean = scale * (rows @ state["head.mean"].T + state["head.bias"])
        variance = scale * scale * ((rows * rows) @ state["head.variance"].T)
        return gaussian_softmax(mean, variance, state["counts"])
