"""ANIL: MAML that adapts only the head.

Raghu et al., "Rapid Learning or Feature Reuse?", ICLR 2020.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from edge_sdk.manifest import SoftmaxSgd
from export.backbones.conv4 import FrozenConv4, feature_dim
from export.learners.base import (
    Learner,
    LearnerOptions,
    Role,
    State,
    mask_unused,
)
from export.learners.gradient import gradient_step, slots_in_use

INITIAL_RATE = 1.0


class Anil(Learner):
    """State: a softmax head on frozen features; adapting is one gradient step.

    The head starts at zero, so that it serves any number of ways and no slot is special
    (Ye & Chao, "How to Train Your MAML to Excel", ICLR 2022). The step size is learned.
    """

    name = "anil"
    adaptation = "gradient"
    roles: ClassVar[dict[str, Role]] = {
        "head.weight": "slot",
        "head.bias": "slot",
        "counts": "personal",
    }

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.dim = feature_dim(options.input_shape, options.hidden)
        self.backbone = FrozenConv4(options.input_shape, options.hidden)
        self.log_rate = nn.Parameter(torch.tensor(math.log(INITIAL_RATE)))

    def init(self, ways: int) -> State:
        like = self.log_rate
        return {
            "head.weight": like.new_zeros(ways, self.dim),
            "head.bias": like.new_zeros(ways),
            "counts": like.new_zeros(ways),
        }

    def embed(self, x: Tensor) -> Tensor:
        # unit-order features, so that one step size suits any backbone width
        features: Tensor = self.backbone(x)
        return features * float(self.dim**-0.5)

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        # the gradient of the mean loss shrinks as 1 / ways; undo it, so that one rate suits any
        # ways
        rate = torch.exp(self.log_rate) * slots_in_use(state, labels, weights)
        rates = {"head.weight": rate, "head.bias": rate}
        return gradient_step(self, state, features, labels, weights, rates)

    def kernel(self) -> SoftmaxSgd:
        return SoftmaxSgd(
            weight="head.weight",
            bias="head.bias",
            rate=torch.exp(self.log_rate).item(),
            rate_per_slot=True,
        )

    def predict(self, state: State, features: Tensor) -> Tensor:
        logits = features @ state["head.weight"].T + state["head.bias"]
        return mask_unused(logits, state["counts"])
