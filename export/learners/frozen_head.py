"""Learners that adapt a softmax head on frozen features: what they share but the step."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from edge_sdk.manifest import SoftmaxSgd
from export.learners.base import Role, State, mask_unused
from export.learners.frozen import FrozenLearner
from export.learners.gradient import gradient_step, slots_in_use


class FrozenHead(FrozenLearner):
    """State: a softmax head on features of a frozen backbone.

    The head starts at zero, so that it serves any number of ways and no slot is special (Ye &
    Chao, "How to Train Your MAML to Excel", ICLR 2022). Subclasses give `adapt`.
    """

    adaptation = "gradient"
    roles: ClassVar[dict[str, Role]] = {
        "head.weight": "slot",
        "head.bias": "slot",
        "counts": "personal",
    }

    def init(self, ways: int) -> State:
        like = next(self.backbone.parameters())
        return {
            "head.weight": like.new_zeros(ways, self.dim),
            "head.bias": like.new_zeros(ways),
            "counts": like.new_zeros(ways),
        }

    def embed(self, x: Tensor) -> Tensor:
        # unit-order features, so that one step size suits any backbone width
        return super().embed(x) * float(self.dim**-0.5)

    def predict(self, state: State, features: Tensor) -> Tensor:
        logits = features @ state["head.weight"].T + state["head.bias"]
        return mask_unused(logits, state["counts"])


class SgdHead(FrozenHead):
    """Adapting is one step of gradient descent on the head; the device has a native kernel for it.

    Subclasses give the step size.
    """

    @abstractmethod
    def rate(self) -> Tensor | float:
        """Step size of a row of the head, `[]`.

        It is multiplied by the number of slots in use before it is used: the gradient of one of the
        head's rows shrinks as 1 / ways, so that one rate suits any number of ways.
        """

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        rate = self.rate() * slots_in_use(state, labels, weights)
        rates = {"head.weight": rate, "head.bias": rate}
        return gradient_step(self, state, features, labels, weights, rates)

    def kernel(self) -> SoftmaxSgd:
        rate = self.rate()
        return SoftmaxSgd(
            weight="head.weight",
            bias="head.bias",
            rate=rate.item() if isinstance(rate, Tensor) else rate,
            rate_per_slot=True,
        )
