"""R2-D2: a ridge regression head in closed form.

Bertinetto et al., "Meta-learning with Differentiable Closed-form Solvers", ICLR 2019.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from edge_sdk.manifest import RidgeKernel
from export.learners.base import mask_unused, one_hot, support_loss
from export.learners.frozen import ProjectedLearner, unit_rows
from export.learners.recipe import ONE_SHOT_128, Recipe, comparing_recipes

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import LearnerOptions, Role, State

INITIAL_RIDGE = 1.0
INITIAL_SCALE = 10.0

CONDITION = 1000.0
"""The ridge is at least a `CONDITION`-th of the examples' total weight: see `inverse`."""

ITERATIONS = 14


class Ridge(ProjectedLearner):
    """State: the head, and the sums X^T X and X^T Y that it is solved from.

    A new label needs the sums only, never an old example. Features are directions (unit rows) in a
    learned projection of the backbone's; the ridge and the scale of the logits are learned. The
    solve is `dim` x `dim`: it costs the same for any number of examples.
    """

    name = "ridge"
    adaptation = "closed_form"
    roles: ClassVar[dict[str, Role]] = {
        "head.weight": "personal",
        "gram": "personal",
        "moments": "personal",
        "counts": "personal",
    }
    defaults: ClassVar[dict[str, int | float]] = {"dim": 128}
    recipes: ClassVar[dict[str, Recipe]] = comparing_recipes(ONE_SHOT_128)

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.log_ridge = nn.Parameter(torch.tensor(math.log(INITIAL_RIDGE)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))

    def init(self, ways: int) -> State:
        like = self.log_scale
        return {
            "head.weight": like.new_zeros(ways, self.dim),
            "gram": like.new_zeros(self.dim, self.dim),
            "moments": like.new_zeros(ways, self.dim),
            "counts": like.new_zeros(ways),
        }

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        hot = one_hot(labels, state["counts"].shape[0], features.dtype)
        rows = unit_rows(features)
        weighted = rows * weights[:, None]
        gram = state["gram"] + weighted.T @ rows
        moments = state["moments"] + hot.T @ weighted
        counts = state["counts"] + (hot * weights[:, None]).sum(0)
        total = counts.sum()
        ridge = torch.exp(self.log_ridge) + total / CONDITION
        after = {
            "head.weight": moments @ inverse(gram, ridge, total),
            "gram": gram,
            "moments": moments,
            "counts": counts,
        }
        return after, support_loss(self.predict(after, features), hot, weights)

    def kernel(self) -> RidgeKernel:
        return RidgeKernel(
            weight="head.weight",
            gram="gram",
            moments="moments",
            ridge=torch.exp(self.log_ridge).item(),
            ridge_per_weight=1 / CONDITION,
            scale=torch.exp(self.log_scale).item(),
            unit_rows=True,
        )

    def predict(self, state: State, features: Tensor) -> Tensor:
        outputs = unit_rows(features) @ state["head.weight"].T
        return mask_unused(torch.exp(self.log_scale) * outputs, state["counts"])


def inverse(gram: Tensor, ridge: Tensor, trace: Tensor) -> Tensor:
    """Inverse of `gram + ridge I` by Newton-Schulz iterations (Schulz 1933; Ben-Israel 1965).

    V <- V (2 I - M V) squares the residual I - M V. From V = 2 I / (trace + 2 ridge) the residual's
    eigenvalues start within trace / (trace + 2 ridge) of zero, below 1: it converges from there
    always. With `ridge >= trace / CONDITION` this is at most 1 - 2 / (CONDITION + 2), and its power
    2 ** `ITERATIONS` is below 1e-14: exact in float32.

    Args:
        gram: Positive semi-definite `[dim, dim]`, largest eigenvalue <= `trace`.
        ridge: > 0, `[]`.
        trace: >= 0, `[]`.
    """
    eye = torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
    matrix = gram + ridge * eye
    found = eye * (2 / (trace + 2 * ridge))
    for _ in range(ITERATIONS):
        found = 2 * found - found @ matrix @ found
    return found
