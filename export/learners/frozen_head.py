"""Learners that adapt a softmax head on frozen features: what they share but the step."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from edge_sdk.manifest import SoftmaxSgd
from export.learners.base import Role, State, mask_unused, one_hot
from export.learners.frozen import FrozenLearner
from export.learners.gradient import gradient_step, slots_in_use
from export.learners.many_tasks import ManyTasks, counts_after


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


class SgdHead(FrozenHead, ManyTasks):
    """Adapting is one step of gradient descent on the head; the device has a native kernel for it.

    Of many tasks it is written out, as the gradient of a linear softmax head has a closed form.
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

    def init_tasks(self, ways: int, tasks: int) -> State:
        return {
            name: tensor.expand(tasks, *tensor.shape) for name, tensor in self.init(ways).items()
        }

    def adapt_tasks(self, state: State, features: Tensor, labels: Tensor) -> State:
        state = {**state, "counts": counts_after(state, labels)}
        used = (state["counts"] > 0).to(features.dtype).sum(1)
        ways = state["counts"].shape[1]
        hot = one_hot(labels.flatten(), ways, features.dtype).view(*labels.shape, ways)
        wrong = torch.softmax(self.predict_tasks(state, features), -1) - hot
        step = wrong * (-self.rate() * used / labels.shape[1])[:, None, None]
        return {
            **state,
            "head.weight": torch.baddbmm(state["head.weight"], step.transpose(1, 2), features),
            "head.bias": state["head.bias"] + step.sum(1),
        }

    def predict_tasks(self, state: State, features: Tensor) -> Tensor:
        weight, bias = state["head.weight"], state["head.bias"]
        logits = torch.baddbmm(bias[:, None], features, weight.transpose(1, 2))
        return mask_unused(logits, state["counts"][:, None])

    def kernel(self) -> SoftmaxSgd:
        rate = self.rate()
        return SoftmaxSgd(
            weight="head.weight",
            bias="head.bias",
            rate=rate.item() if isinstance(rate, Tensor) else rate,
            rate_per_slot=True,
        )
