"""Siamese networks: a learned distance between two images says whether they show one class.

Koch, Zemel, Salakhutdinov, "Siamese Neural Networks for One-shot Image Recognition", ICML deep
learning workshop 2015.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from export.learners.base import mask_unused, one_hot, support_loss
from export.learners.frozen import FrozenLearner
from export.learners.memory import KEYS, MEMORY_ROLES, empty_memory, log_votes, remember
from export.learners.recipe import ONE_SHOT_64, Recipe, comparing_recipes

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import LearnerOptions, Role, State

INITIAL_WEIGHT = 0.5


class Siamese(FrozenLearner):
    """State: the support examples' units; adapting appends, predicting compares with each of them.

    The twins end in a layer of sigmoid units h, and the log-odds that two images show one class are
    b - sum of a_j |h_j - h'_j|, as in the paper; here the a_j are positive, so that nothing is more
    alike than two equal images. The paper trains these odds pair by pair; we train them as they
    are used, by the softmax over the support set, in which b cancels out. Several examples of a
    class share their mean odds.
    """

    name = "siamese"
    adaptation = "closed_form"
    roles: ClassVar[dict[str, Role]] = MEMORY_ROLES
    defaults: ClassVar[dict[str, int | float]] = {"capacity": 256, "units": 128}
    recipes: ClassVar[dict[str, Recipe]] = comparing_recipes(ONE_SHOT_64)

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.units = self.size("units")
        self.layer = nn.Linear(self.dim, self.units)
        self.log_weights = nn.Parameter(torch.full((self.units,), math.log(INITIAL_WEIGHT)))

    def embed(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.layer(self.backbone(x)))

    def init(self, ways: int) -> State:
        return empty_memory(self.size("capacity"), self.units, ways, self.log_weights)

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        after = remember(state, features, labels, weights)
        hot = one_hot(labels, state["counts"].shape[0], features.dtype)
        return after, support_loss(self.predict(after, features), hot, weights)

    def predict(self, state: State, features: Tensor) -> Tensor:
        counts = state["counts"]
        gaps = torch.abs(features[:, None] - state[KEYS])  # [n, capacity, units]
        log_odds = -(gaps @ torch.exp(self.log_weights))
        means = log_votes(log_odds, state) - torch.log(torch.where(counts > 0, counts, 1.0))
        return mask_unused(means, counts)
