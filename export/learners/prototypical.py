"""Prototypical networks: a class is the mean of its features.

Snell, Swersky, Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from export.learners.base import (
    LearnerOptions,
    Role,
    State,
    mask_unused,
    one_hot,
    support_loss,
)
from export.learners.frozen import FrozenLearner, running_means
from export.learners.recipe import ONE_SHOT_128, Recipe, comparing_recipes


class Prototypical(FrozenLearner):
    """State: prototypes and how many examples each rests on; adapting is a running mean."""

    name = "prototypical"
    adaptation = "closed_form"
    roles: ClassVar[dict[str, Role]] = {"prototypes": "slot", "counts": "personal"}
    recipes: ClassVar[dict[str, Recipe]] = comparing_recipes(
        ONE_SHOT_128, outer_lr=6e-3, steps=24_000
    )

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        # learned scale of the distances (Oreshkin et al., TADAM, NeurIPS 2018); distances grow with
        # the dimension, so that a start at 1 would saturate the softmax and waste the first steps
        self.log_scale = nn.Parameter(torch.tensor(-0.5 * math.log(self.dim)))

    def init(self, ways: int) -> State:
        like = self.log_scale
        return {
            "prototypes": like.new_zeros(ways, self.dim),
            "counts": like.new_zeros(ways),
        }

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        prototypes, counts = running_means(
            state["prototypes"], state["counts"], features, labels, weights
        )
        after = {"prototypes": prototypes, "counts": counts}
        hot = one_hot(labels, counts.shape[0], features.dtype)
        return after, support_loss(self.predict(after, features), hot, weights)

    def predict(self, state: State, features: Tensor) -> Tensor:
        prototypes = state["prototypes"]
        # |f - p|^2 = |f|^2 - 2 f.p + |p|^2; |f|^2 is the same for every slot, so softmax drops it
        distance = (prototypes * prototypes).sum(-1) - 2 * (features @ prototypes.T)
        return mask_unused(-torch.exp(self.log_scale) * distance, state["counts"])
