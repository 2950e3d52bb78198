"""A recurrent learner: an LSTM reads the support set, one example after the other.

Hochreiter, Younger, Conwell, "Learning to Learn Using Gradient Descent", ICANN 2001; on Omniglot as
in the LSTM baseline of Santoro et al., "Meta-Learning with Memory-Augmented Neural Networks", ICML
2016. Those feed the label to one cell as a code, which ties a slot to its code and the network to a
number of slots. Here every slot has a copy of the same cell with the same weights, which reads the
whole sequence and is told of each example whether it is its own: exactly no slot is special, and a
bundle may have any number of them.
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
from export.learners.frozen import FrozenLearner
from export.learners.recipe import Recipe, reading_recipes

SHUT = 8.0
"""Logit of a gate that is open, and minus that of one that is shut, for other slots' examples."""

NO_EXAMPLES = 0.05
"""Added to the number of own examples before its logarithm is taken."""


class Lstm(FrozenLearner):
    """State: hidden and cell vector of every slot; adapting reads one example.

    A slot's cell sees the example, the slot's own hidden vector, the mean hidden vector of the
    slots in use, whether the example is its own, and if so how many of its own it read before. A
    query goes to the slot whose key, read from the hidden vector, is nearest.

    The first weights make the cell a running mean of its own examples: with k of them read, an
    input gate of sigmoid(-log k) = 1 / (1 + k) and a forget gate of sigmoid(log k) = k / (1 + k);
    for others' examples the input gate is shut and the forget gate open, so that long sequences
    lose nothing (as Tallec & Ollivier, "Can Recurrent Neural Networks Warp Time?", ICLR 2018, set
    forget gates by the length of the sequence). So it starts near a prototypical network, from
    which it trains in minutes.
    """

    name = "lstm"
    adaptation = "sequential"
    order_invariant = False
    roles: ClassVar[dict[str, Role]] = {
        "hidden": "slot",
        "cell": "slot",
        "counts": "personal",
    }
    defaults: ClassVar[dict[str, int | float]] = {"width": 64}
    recipes: ClassVar[dict[str, Recipe]] = reading_recipes()

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        width = self.size("width")
        self.width = width
        self.project = nn.Linear(self.dim, width, bias=False)
        # gates lie in the order input, forget, output, candidate
        self.from_example = nn.Parameter(0.1 * torch.randn(width, 4 * width) / math.sqrt(width))
        self.from_hidden = nn.Parameter(torch.zeros(width, 4 * width))
        self.from_others = nn.Parameter(torch.zeros(width, 4 * width))
        self.from_own = nn.Parameter(torch.zeros(4 * width))
        self.from_count = nn.Parameter(torch.zeros(4 * width))
        self.bias = nn.Parameter(torch.zeros(4 * width))
        self.to_key = nn.Parameter(torch.eye(width))
        self.log_scale = nn.Parameter(torch.tensor(math.log(4.0)))
        with torch.no_grad():
            self.from_example[:, 3 * width :] = torch.eye(width)
            take, keep, show = (slice(i * width, (i + 1) * width) for i in range(3))
            self.from_own[take], self.from_own[keep] = SHUT, -SHUT
            self.from_count[take], self.from_count[keep] = -1.0, 1.0
            self.bias[take], self.bias[keep], self.bias[show] = -SHUT, SHUT, SHUT / 4

    def init(self, ways: int) -> State:
        like = self.log_scale
        return {
            "hidden": like.new_zeros(ways, self.width),
            "cell": like.new_zeros(ways, self.width),
            "counts": like.new_zeros(ways),
        }

    def embed(self, x: Tensor) -> Tensor:
        # unit-order features, which the cell's tanh passes almost unchanged
        features: Tensor = self.project(super().embed(x))
        return features * float(self.width**-0.5)

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        hidden, cell, counts = state["hidden"], state["cell"], state["counts"]
        hot = one_hot(labels, counts.shape[0], features.dtype)
        own = hot[0][:, None]
        used = (counts > 0).to(features.dtype)
        others = (used @ hidden) / torch.clamp(used.sum(), min=1.0)
        gates = (
            features[0] @ self.from_example
            + others @ self.from_others
            + hidden @ self.from_hidden
            + own * self.from_own
            + own * torch.log(counts + NO_EXAMPLES)[:, None] * self.from_count
            + self.bias
        )
        take, keep, show, candidate = torch.split(gates, self.width, dim=-1)
        after_cell = torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(candidate)
        after_hidden = torch.sigmoid(show) * torch.tanh(after_cell)
        after = {
            "hidden": after_hidden,
            "cell": after_cell,
            "counts": counts + weights[0] * hot[0],
        }
        return after, support_loss(self.predict(after, features), hot, weights)

    def predict(self, state: State, features: Tensor) -> Tensor:
        keys = state["hidden"] @ self.to_key
        # |f - k|^2 without |f|^2, which is the same for every slot
        distance = (keys * keys).sum(-1) - 2 * (features @ keys.T)
        return mask_unused(-torch.exp(self.log_scale) * distance, state["counts"])
