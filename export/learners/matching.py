"""Matching networks: a query's label is an average of those it attends to.

Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016, without the optional
full-context embeddings.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from export.learners.base import mask_unused, one_hot, support_loss
from export.learners.frozen import FrozenLearner, unit_rows
from export.learners.memory import KEYS, MEMORY_ROLES, empty_memory, log_votes, remember
from export.learners.recipe import ONE_SHOT_128, Recipe, comparing_recipes

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import LearnerOptions, Role, State

INITIAL_SCALE = 10.0


class Matching(FrozenLearner):
    """State: the support examples' directions; adapting appends, predicting attends by cosine.

    p(y | x) = sum of a(x, x_i) y_i with a = softmax(scale * cos(x, x_i)); the scale is learned.
    """

    name = "matching"
    adaptation = "closed_form"
    roles: ClassVar[dict[str, Role]] = MEMORY_ROLES
    defaults: ClassVar[dict[str, int | float]] = {"capacity": 256}
    recipes: ClassVar[dict[str, Recipe]] = comparing_recipes(ONE_SHOT_128)

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))

    def init(self, ways: int) -> State:
        return empty_memory(self.size("capacity"), self.dim, ways, self.log_scale)

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        after = remember(state, unit_rows(features), labels, weights)
        hot = one_hot(labels, state["counts"].shape[0], features.dtype)
        return after, support_loss(self.predict(after, features), hot, weights)

    def predict(self, state: State, features: Tensor) -> Tensor:
        scores = torch.exp(self.log_scale) * (unit_rows(features) @ state[KEYS].T)
        return mask_unused(log_votes(scores, state), state["counts"])
