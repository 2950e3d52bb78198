"""A hypernetwork: the support set goes in, the weights of a classifier come out.

Ha, Dai, Le, "HyperNetworks", ICLR 2017; weights of a class from its pooled features, seen beside
those of the other classes, as in Ye et al., "Few-Shot Learning via Embedding Adaptation with
Set-to-Set Functions", CVPR 2020.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from export.learners.base import UNUSED_LOGIT, mask_unused, one_hot, support_loss
from export.learners.frozen import ProjectedLearner, running_means, unit_rows
from export.learners.recipe import MIXED_60, Recipe, comparing_recipes

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import LearnerOptions, Role, State

INITIAL_SCALE = 10.0


class Hypernetwork(ProjectedLearner):
    """State: pooled features of each class and the head generated from all of them.

    Each class's pooled features attend to those of the classes in use; a small network turns the
    outcome, with the logarithm of the number of examples, into a correction of the class's row of
    the head and its bias. The correction starts at zero, and the head at the pooled features'
    directions. Adapting is one forward pass, and a label taught later renews every row.
    """

    name = "hypernetwork"
    adaptation = "closed_form"
    roles: ClassVar[dict[str, Role]] = {
        "head.weight": "personal",
        "head.bias": "personal",
        "pooled": "personal",
        "counts": "personal",
    }
    defaults: ClassVar[dict[str, int | float]] = {"dim": 128, "units": 64}
    recipes: ClassVar[dict[str, Recipe]] = comparing_recipes(MIXED_60)

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        units = self.size("units")
        self.ask = nn.Linear(self.dim, units, bias=False)
        self.offer = nn.Linear(self.dim, units, bias=False)
        self.hidden = nn.Linear(2 * self.dim + 1, units)
        self.generate = nn.Linear(units, self.dim + 1)
        nn.init.zeros_(self.generate.weight)
        nn.init.zeros_(self.generate.bias)
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))

    def init(self, ways: int) -> State:
        like = self.log_scale
        return {
            "head.weight": like.new_zeros(ways, self.dim),
            "head.bias": like.new_zeros(ways),
            "pooled": like.new_zeros(ways, self.dim),
            "counts": like.new_zeros(ways),
        }

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        rows = unit_rows(features)
        pooled, counts = running_means(state["pooled"], state["counts"], rows, labels, weights)
        weight, bias = self._head(pooled, counts)
        after = {"head.weight": weight, "head.bias": bias, "pooled": pooled, "counts": counts}
        hot = one_hot(labels, counts.shape[0], features.dtype)
        return after, support_loss(self.predict(after, features), hot, weights)

    def _head(self, pooled: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Weights `[ways, dim]` and biases `[ways]`; zeros for slots that are not in use."""
        used = counts > 0
        directions = unit_rows(pooled)
        fit = self.ask(directions) @ self.offer(directions).T
        context = torch.softmax(torch.where(used, fit, UNUSED_LOGIT), dim=-1) @ directions
        shots = torch.log(torch.where(used, counts, 1.0))[:, None]
        hidden = torch.relu(self.hidden(torch.cat([directions, context, shots], dim=-1)))
        made = self.generate(hidden)
        weight = directions + made[:, :-1]
        return torch.where(used[:, None], weight, 0.0), torch.where(used, made[:, -1], 0.0)

    def predict(self, state: State, features: Tensor) -> Tensor:
        outputs = unit_rows(features) @ state["head.weight"].T + state["head.bias"]
        return mask_unused(torch.exp(self.log_scale) * outputs, state["counts"])
