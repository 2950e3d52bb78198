"""MAML: a starting point from which a few steps on every weight suffice.

Finn, Abbeel, Levine, "Model-Agnostic Meta-Learning for Fast Adaptation", ICML 2017.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from edge_sdk.errors import InvalidOptionError
from export.backbones.conv4 import NORM_GROUPS, conv4, conv4_weights, feature_dim
from export.learners.base import Learner, LearnerOptions, Role, State, mask_unused
from export.learners.gradient import gradient_step, slots_in_use
from export.learners.recipe import MIRROR, ONE_SHOT_5, VALIDATE_5, Recipe
from export.train_options import TrainOptions

INITIAL_RATE = 0.3


class Maml(Learner):
    """State: every weight of a conv-4 network; adapting is one gradient step on all of them.

    Nothing is frozen, so features are the images themselves. Each tensor has its own learned step
    size (Antoniou, Edwards, Storkey, "How to train your MAML", ICLR 2019). All rows of the head
    start as one learned vector, so that it serves any number of ways and no slot is special (Ye &
    Chao, "How to Train Your MAML to Excel", ICLR 2022).
    """

    name = "maml"
    adaptation = "gradient"
    has_embed = False
    roles: ClassVar[dict[str, Role]] = {
        "head.weight": "slot",
        "head.bias": "slot",
        "counts": "personal",
    }
    recipes: ClassVar[dict[str, Recipe]] = {
        "omniglot": Recipe(
            train=TrainOptions(
                steps=3000,
                episodes=ONE_SHOT_5,
                augment=MIRROR,
                outer_lr=5e-3,
                validation=VALIDATE_5,
                validation_batches=10,
                validate_every=500,
            )
        ),
        "glyphs": Recipe(
            train=TrainOptions(
                steps=400,
                episodes=ONE_SHOT_5,
                outer_lr=5e-3,
                validation=VALIDATE_5,
                validation_batches=10,
                validate_every=200,
            )
        ),
    }

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        if options.hidden % NORM_GROUPS:
            msg = f"hidden must be a multiple of {NORM_GROUPS} for maml, got {options.hidden}"
            raise InvalidOptionError(msg)
        dim = feature_dim(options.input_shape, options.hidden)
        weights = conv4_weights(options.input_shape, options.hidden)
        self.feature_scale = dim**-0.5
        # names of state tensors hold dots, which ParameterDict refuses as keys
        self.names = tuple(weights)
        self.body = nn.ParameterList(weights.values())
        self.head_row = nn.Parameter(torch.zeros(dim))
        rated = len(self.names) + 1
        self.log_rates = nn.Parameter(torch.full((rated,), math.log(INITIAL_RATE)))

    def init(self, ways: int) -> State:
        state: State = dict(zip(self.names, self.body, strict=True))
        state["head.weight"] = self.head_row.expand(ways, -1).clone()
        state["head.bias"] = self.head_row.new_zeros(ways)
        state["counts"] = self.head_row.new_zeros(ways)
        return state

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        rate = torch.exp(self.log_rates)
        rates = {name: rate[i] for i, name in enumerate(self.names)}
        # the gradient of a head row shrinks as 1 / ways; undo it, so that one rate suits any ways
        head_rate = rate[-1] * slots_in_use(state, labels, weights)
        rates |= {"head.weight": head_rate, "head.bias": head_rate}
        return gradient_step(self, state, features, labels, weights, rates)

    def predict(self, state: State, features: Tensor) -> Tensor:
        z = conv4(state, features) * self.feature_scale
        logits = z @ state["head.weight"].T + state["head.bias"]
        return mask_unused(logits, state["counts"])
