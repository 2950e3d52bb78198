"""Nearest neighbours over a memory of examples: nothing is trained on the device.

Cover & Hart, "Nearest Neighbor Pattern Classification", IEEE Trans. Information Theory 1967; votes
weighted by similarity as in Khandelwal et al., "Generalization through Memorization: Nearest
Neighbor Language Models", ICLR 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from export.learners.base import mask_unused, one_hot, support_loss
from export.learners.frozen import FrozenLearner, unit_rows
from export.learners.memory import (
    KEYS,
    MEMORY_ROLES,
    WEIGHTS,
    empty_memory,
    memory_labels,
    remember,
)
from export.learners.recipe import MIRROR, VALIDATE_20, Recipe
from export.train_options import TrainOptions

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import Role, State

NONE = -2.0
"""Below every cosine."""


class Retrieval(FrozenLearner):
    """State: the examples' directions; adapting appends, predicting asks the nearest ones.

    The `neighbours` nearest examples vote with exp(scale * cosine). Those that lie less than
    `margin` (a cosine) beyond the last of them still have part of a vote, so that equal examples
    have equal votes and rounding cannot change an answer abruptly. Every slot in use has a share
    `smoothing` of the nearest example's vote besides: no label is ever ruled out.
    """

    name = "retrieval"
    adaptation = "closed_form"
    objective = "pretrain"
    roles: ClassVar[dict[str, Role]] = MEMORY_ROLES
    defaults: ClassVar[dict[str, int | float]] = {
        "capacity": 256,
        "neighbours": 16,
        "scale": 20.0,
        "margin": 0.02,
        "smoothing": 1e-3,
    }
    recipes: ClassVar[dict[str, Recipe]] = {
        "omniglot": Recipe(
            hidden=48,
            backbone="resnet-lite",
            train=TrainOptions(
                steps=16_000,
                batch_size=256,
                augment=MIRROR,
                outer_lr=3e-3,
                validation=VALIDATE_20,
                validate_every=1000,
                checkpoint_every=500,
            ),
        ),
        "glyphs": Recipe(
            train=TrainOptions(
                steps=600,
                batch_size=256,
                outer_lr=3e-3,
                validation=VALIDATE_20,
                validate_every=300,
            ),
        ),
    }

    def init(self, ways: int) -> State:
        like = next(self.parameters())
        return empty_memory(self.size("capacity"), self.dim, ways, like)

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        after = remember(state, unit_rows(features), labels, weights)
        hot = one_hot(labels, state["counts"].shape[0], features.dtype)
        return after, support_loss(self.predict(after, features), hot, weights)

    def predict(self, state: State, features: Tensor) -> Tensor:
        cosines = unit_rows(features) @ state[KEYS].T
        cosines = torch.where(state[WEIGHTS] > 0, cosines, NONE)
        top = cosines.amax(-1, keepdim=True)
        votes = torch.exp(self.setting("scale") * (cosines - top)) * state[WEIGHTS]
        votes = votes * self._nearness(cosines, state[WEIGHTS])
        logits = torch.log(votes @ memory_labels(state) + self.setting("smoothing"))
        return mask_unused(logits, state["counts"])

    def _nearness(self, cosines: Tensor, weights: Tensor) -> Tensor:
        """1 for the nearest examples, falling to 0 at `margin` beyond, `[n, capacity]`."""
        nearest, order = torch.sort(cosines, dim=-1, descending=True)
        enough = weights[order].cumsum(-1) >= self.setting("neighbours")
        last = torch.where(enough, nearest, NONE).amax(-1, keepdim=True)
        return (1 + (cosines - last) / self.setting("margin")).clamp(0, 1)
