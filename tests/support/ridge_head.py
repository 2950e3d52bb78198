"""Ridge regression on its own features, as a learner: tests the ridge kernel against its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from edge_sdk.manifest import RidgeKernel
from export.learners.base import Learner, Role, State, mask_unused, one_hot, support_loss

if TYPE_CHECKING:
    from torch import Tensor

RIDGE, PER_WEIGHT, SCALE = 2.0, 0.02, 3.0
SMALL, ITERATIONS = 1e-6, 12


class RidgeHead(Learner):
    """Features are the inputs themselves, divided by their length."""

    name = "ridge_head"
    adaptation = "closed_form"
    has_embed = False
    roles: ClassVar[dict[str, Role]] = {
        "w": "personal", "gram": "personal", "moments": "personal", "counts": "personal",
    }  # fmt: skip

    def init(self, ways: int) -> State:
        dim = self.options.input_shape[0]
        shapes = {"w": (ways, dim), "gram": (dim, dim), "moments": (ways, dim), "counts": (ways,)}
        return {name: torch.zeros(shape) for name, shape in shapes.items()}

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        hot = one_hot(labels, state["counts"].shape[0], features.dtype)
        u = _unit_rows(features)
        gram = state["gram"] + (u * weights[:, None]).T @ u
        moments = state["moments"] + hot.T @ (u * weights[:, None])
        counts = state["counts"] + (hot * weights[:, None]).sum(0)
        total = counts.sum()
        ridge = RIDGE + PER_WEIGHT * total
        eye = torch.eye(gram.shape[0], dtype=gram.dtype)
        inverse = eye * (2 / (total + 2 * ridge))
        for _ in range(ITERATIONS):  # Newton-Schulz: exact for so well conditioned a system
            inverse = 2 * inverse - inverse @ (gram + ridge * eye) @ inverse
        after = {"w": moments @ inverse, "gram": gram, "moments": moments, "counts": counts}
        return after, support_loss(self.predict(after, features), hot, weights)

    def predict(self, state: State, features: Tensor) -> Tensor:
        return mask_unused(SCALE * _unit_rows(features) @ state["w"].T, state["counts"])

    def kernel(self) -> RidgeKernel:
        return RidgeKernel(
            weight="w", gram="gram", moments="moments", ridge=RIDGE, ridge_per_weight=PER_WEIGHT,
            scale=SCALE, unit_rows=True,
        )  # fmt: skip


def _unit_rows(x: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + SMALL)
