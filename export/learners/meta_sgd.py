"""Meta-SGD: MAML that learns the step size of every single weight, sign included.

Li, Zhou, Chen, Li, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", 2017.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from export.learners.recipe import Recipe, whole_network_recipes
from export.learners.whole_network import WholeNetwork

if TYPE_CHECKING:
    from export.learners.base import LearnerOptions

INITIAL_RATE = 0.3


class MetaSgd(WholeNetwork):
    """The step sizes of one row of the head serve all rows, so that no slot is special.

    They are part of `adapt.onnx` and not of the state: a device never changes them, so that they
    need no room in what it stores and sends.
    """

    name = "meta_sgd"
    recipes: ClassVar[dict[str, Recipe]] = whole_network_recipes()

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        like = (*self.backbone.body, self.head_row, torch.zeros(()))
        self.rate_of = nn.ParameterList(torch.full(w.shape, INITIAL_RATE) for w in like)

    def rates(self) -> dict[str, Tensor]:
        names = (*self.names, "head.weight", "head.bias")
        return dict(zip(names, self.rate_of, strict=True))
