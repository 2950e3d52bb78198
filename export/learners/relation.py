"""Relation networks: a learned module judges how well a query fits each class.

Sung et al., "Learning to Compare: Relation Network for Few-Shot Learning", CVPR 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from export.learners.base import mask_unused, one_hot, support_loss
from export.learners.frozen import FrozenLearner, running_means
from export.learners.pairwise import PairNetwork
from export.learners.recipe import ONE_SHOT_64, Recipe, comparing_recipes

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import LearnerOptions, Role, State


class Relation(FrozenLearner):
    """State: pooled features of each class; adapting adds them up, predicting runs the module.

    The paper sums the features of a class's examples; we divide the sum by their number, so that
    one module serves any number of shots. Its module is convolutional; ours is fully connected,
    which on the strided backbones' last maps of 2 x 2 is no larger. The paper regresses scores to 0
    and 1; we train them as logits.
    """

    name = "relation"
    adaptation = "closed_form"
    roles: ClassVar[dict[str, Role]] = {"pooled": "slot", "counts": "personal"}
    defaults: ClassVar[dict[str, int | float]] = {"units": 64}
    recipes: ClassVar[dict[str, Recipe]] = comparing_recipes(ONE_SHOT_64)

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.module = PairNetwork(self.dim, self.size("units"))

    def init(self, ways: int) -> State:
        like = self.module.bias
        return {"pooled": like.new_zeros(ways, self.dim), "counts": like.new_zeros(ways)}

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        pooled, counts = running_means(state["pooled"], state["counts"], features, labels, weights)
        after = {"pooled": pooled, "counts": counts}
        hot = one_hot(labels, counts.shape[0], features.dtype)
        return after, support_loss(self.predict(after, features), hot, weights)

    def predict(self, state: State, features: Tensor) -> Tensor:
        scores = self.module(features, state["pooled"])[..., 0]
        return mask_unused(scores, state["counts"])
