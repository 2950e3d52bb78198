"""MAML: a starting point from which a few steps on every weight suffice.

Finn, Abbeel, Levine, "Model-Agnostic Meta-Learning for Fast Adaptation", ICML 2017.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from export.learners.recipe import Recipe, whole_network_recipes
from export.learners.whole_network import WholeNetwork

if TYPE_CHECKING:
    from export.learners.base import LearnerOptions

INITIAL_RATE = 0.3


class Maml(WholeNetwork):
    """Each tensor has its own learned step size.

    Antoniou, Edwards, Storkey, "How to train your MAML", ICLR 2019. The setting `first_order`, 0 or
    1, drops the second derivatives in training (FOMAML).
    """

    name = "maml"
    defaults: ClassVar[dict[str, int | float]] = {"first_order": 0}
    recipes: ClassVar[dict[str, Recipe]] = whole_network_recipes()

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        rated = len(self.names) + 1
        self.log_rates = nn.Parameter(torch.full((rated,), math.log(INITIAL_RATE)))

    @property
    def first_order(self) -> bool:
        return self.setting("first_order") != 0

    def rates(self) -> dict[str, Tensor]:
        rate = torch.exp(self.log_rates)
        body = {name: rate[i] for i, name in enumerate(self.names)}
        return {**body, "head.weight": rate[-1], "head.bias": rate[-1]}
