"""A head learned with momentum, its velocity in the state: tests the momentum of the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from edge_sdk.manifest import SoftmaxSgd
from export.learners.base import Learner, LearnerOptions, Role, State, mask_unused
from export.learners.gradient import gradient_step

if TYPE_CHECKING:
    from torch import Tensor

RATE, MOMENTUM = 0.3, 0.75


class MomentumHead(Learner):
    """Features are the inputs themselves; the head starts at small random weights."""

    name = "momentum"
    adaptation = "gradient"
    has_embed = False
    roles: ClassVar[dict[str, Role]] = {
        "w": "slot", "b": "slot", "w.velocity": "slot", "b.velocity": "slot", "counts": "personal",
    }  # fmt: skip

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        generator = torch.Generator().manual_seed(1)
        self.w = torch.nn.Parameter(
            0.3 * torch.randn(options.ways, options.input_shape[0], generator=generator)
        )

    def init(self, ways: int) -> State:
        weight, bias = self.w[:ways].clone(), self.w.new_zeros(ways)
        velocity = {"w.velocity": torch.zeros_like(weight), "b.velocity": torch.zeros_like(bias)}
        return {"w": weight, "b": bias, **velocity, "counts": self.w.new_zeros(ways)}

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        one = features.new_tensor(1.0)
        after, loss = gradient_step(
            self, state, features, labels, weights, {"w": one, "b": one}
        )  # a step of length 1 is the gradient
        for name in ("w", "b"):
            velocity = MOMENTUM * state[f"{name}.velocity"] + (state[name] - after[name])
            after[f"{name}.velocity"] = velocity
            after[name] = state[name] - RATE * velocity
        return after, loss

    def predict(self, state: State, features: Tensor) -> Tensor:
        return mask_unused(features @ state["w"].T + state["b"], state["counts"])

    def kernel(self) -> SoftmaxSgd:
        return SoftmaxSgd(weight="w", bias="b", rate=RATE, momentum=MOMENTUM)
