"""Learners that adapt every weight of a network: what they share but the step sizes."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from export.backbones.conv4 import GroupNormConv4, conv4
from export.batched.conv4 import channels_last, conv4_of_tasks
from export.learners.base import Learner, LearnerOptions, Role, State, mask_unused
from export.learners.gradient import gradient_step, slots_in_use
from export.learners.many_tasks import ManyTasks, counts_after, gradient_step_of_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONVOLUTION = 4
"""Axes of a convolution's weights; no other tensor of the state has as many."""


class WholeNetwork(Learner, ManyTasks):
    """State: every weight of a conv-4 network; adapting is one gradient step on all of them.

    Nothing is frozen, so features are the images themselves. All rows of the head start as one
    vector, so that it serves any number of ways and no slot is special (Ye & Chao, "How to Train
    Your MAML to Excel", ICLR 2022). Subclasses give the step sizes.
    """

    adaptation = "gradient"
    has_embed = False
    roles: ClassVar[dict[str, Role]] = {
        "head.weight": "slot",
        "head.bias": "slot",
        "counts": "personal",
    }
    learns_head: ClassVar[bool] = True
    """Whether training learns the row that the head starts from; else it starts at zero."""

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.backbone = GroupNormConv4(options.input_shape, options.hidden)
        self.feature_scale = self.backbone.dim**-0.5
        self.names = self.backbone.names
        row = torch.zeros(self.backbone.dim)
        self.head_row: Tensor
        if self.learns_head:
            self.head_row = nn.Parameter(row)
        else:
            self.register_buffer("head_row", row)

    @abstractmethod
    def rates(self) -> Mapping[str, Tensor | float]:
        """Step size of each tensor of `names`, of `head.weight` (a row's) and of `head.bias`.

        The head's are multiplied by the number of slots in use before they are used: the gradient
        of one of its rows shrinks as 1 / ways, so that one rate suits any number of ways.
        """

    @property
    def first_order(self) -> bool:
        """Whether the outer loop takes inner gradients for constants."""
        return False

    def init(self, ways: int) -> State:
        state: State = self.backbone.weights()
        state["head.weight"] = self.head_row.expand(ways, -1).clone()
        state["head.bias"] = self.head_row.new_zeros(ways)
        state["counts"] = self.head_row.new_zeros(ways)
        return state

    def trunk(self) -> dict[str, nn.Module]:
        return {"backbone": self.backbone}

    def represent(self, x: Tensor) -> Tensor:
        features: Tensor = self.backbone(x)
        return features

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        used = slots_in_use(state, labels, weights)
        rates = {
            name: rate * used if name.startswith("head.") else rate
            for name, rate in self.rates().items()
        }
        return gradient_step(
            self, state, features, labels, weights, rates, first_order=self.first_order
        )

    def predict(self, state: State, features: Tensor) -> Tensor:
        z = conv4(state, features) * self.feature_scale
        logits = z @ state["head.weight"].T + state["head.bias"]
        return mask_unused(logits, state["counts"])

    def init_tasks(self, ways: int, tasks: int) -> State:
        state = {
            name: channels_last(tensor) if tensor.dim() == _CONVOLUTION else tensor
            for name, tensor in self.init(ways).items()
        }
        return {name: tensor.expand(tasks, *tensor.shape) for name, tensor in state.items()}

    def adapt_tasks(self, state: State, features: Tensor, labels: Tensor) -> State:
        used = (counts_after(state, labels) > 0).to(features.dtype).sum(1)
        rates: dict[str, Tensor | float] = {}
        for name, rate in self.rates().items():
            rates[name] = rate
            if name == "head.weight":
                rates[name] = rate * used[:, None, None]
            elif name == "head.bias":
                rates[name] = rate * used[:, None]
            elif isinstance(rate, Tensor) and rate.dim() == _CONVOLUTION:
                rates[name] = channels_last(rate)
        return gradient_step_of_tasks(
            self, state, features, labels, rates, first_order=self.first_order
        )

    def predict_tasks(self, state: State, features: Tensor) -> Tensor:
        z = conv4_of_tasks(state, features) * self.feature_scale
        logits = torch.baddbmm(state["head.bias"][:, None], z, state["head.weight"].transpose(1, 2))
        return mask_unused(logits, state["counts"][:, None])
