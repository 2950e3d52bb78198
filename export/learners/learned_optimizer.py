"""Learned optimizer: an LSTM, the same for every weight, turns gradients into updates.

Andrychowicz et al., "Learning to learn by gradient descent by gradient descent", NeurIPS 2016, for
the coordinate-wise LSTM; Ravi & Larochelle, "Optimization as a Model for Few-Shot Learning", ICLR
2017, for the gated form of the update and for the loss among its inputs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from export.learners.base import one_hot, support_loss
from export.learners.frozen_head import FrozenHead
from export.learners.gradient import examples_seen, slots_in_use

if TYPE_CHECKING:
    from export.learners.base import LearnerOptions, Role, State

INITIAL_RATE = 1.0
_INPUTS = 3  # gradient, loss, weight
_KEEP_BIAS = 5.0
"""The forget gate starts at sigmoid(5) = 0.993: nearly plain gradient descent."""

_SHARPNESS = 100.0


class LearnedOptimizer(FrozenHead):
    """State: a softmax head and each of its weights' LSTM memory; adapting is one learned update.

    With the LSTM's output (f, i) of a weight w with the gradient g:

        w' = f * w - rate * i * g

    which starts as gradient descent and can learn momentum, decay and steps of each weight's own.
    Gradients enter the LSTM as asinh(100 g): linear near zero, logarithmic beyond, as in appendix A
    of Andrychowicz et al. but smooth, so that the outer loop can differentiate it.
    """

    name = "learned_optimizer"
    defaults: ClassVar[dict[str, int | float]] = {"cells": 8}
    roles: ClassVar[dict[str, Role]] = {
        **FrozenHead.roles,
        "memory.hidden": "personal",
        "memory.cell": "personal",
    }

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        cells = self.size("cells")
        self.cells = cells
        scale = (_INPUTS + cells) ** -0.5
        self.from_input = nn.Parameter(torch.randn(4 * cells, _INPUTS) * scale)
        self.from_hidden = nn.Parameter(torch.randn(4 * cells, cells) * scale)
        bias = torch.zeros(4 * cells)
        bias[cells : 2 * cells] = 1  # remember at first (Jozefowicz et al., ICML 2015)
        self.bias = nn.Parameter(bias)
        self.to_gates = nn.Parameter(torch.randn(2, cells) * 0.1)
        self.gate_bias = nn.Parameter(torch.tensor([_KEEP_BIAS, 0.0]))
        self.log_rate = nn.Parameter(torch.tensor(math.log(INITIAL_RATE)))

    def init(self, ways: int) -> State:
        state = super().init(ways)
        # the bias of the head is one more column
        empty = self.bias.new_zeros(ways, self.dim + 1, self.cells)
        return {**state, "memory.hidden": empty, "memory.cell": empty.clone()}

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        hot = one_hot(labels, state["counts"].shape[0], features.dtype)
        counts = torch.maximum(state["counts"], examples_seen(state, labels, weights))
        head = {name: state[name] for name in ("head.weight", "head.bias")}

        def loss_of(tensors: State) -> Tensor:
            logits = self.predict({**state, **tensors, "counts": counts}, features)
            return support_loss(logits, hot, weights)

        grads, loss = torch.func.grad_and_value(loss_of)(head)
        weight = torch.cat([head["head.weight"], head["head.bias"][:, None]], dim=1)
        # the gradient of a row shrinks as 1 / ways; undo it, so that any number of ways looks alike
        grad = torch.cat([grads["head.weight"], grads["head.bias"][:, None]], dim=1)
        grad = grad * slots_in_use(state, labels, weights)
        inputs = torch.stack([torch.asinh(_SHARPNESS * grad), loss.expand_as(grad), weight], dim=-1)
        hidden, cell = self._lstm(inputs, state["memory.hidden"], state["memory.cell"])
        gates = hidden @ self.to_gates.T + self.gate_bias
        keep, step = torch.sigmoid(gates[..., 0]), 2 * torch.sigmoid(gates[..., 1])
        moved = keep * weight - torch.exp(self.log_rate) * step * grad
        # a slot that is not in use stays as it is
        used = counts[:, None] > 0
        moved = torch.where(used, moved, weight)
        after = {
            "head.weight": moved[:, :-1],
            "head.bias": moved[:, -1],
            "counts": counts,
            "memory.hidden": torch.where(used[..., None], hidden, state["memory.hidden"]),
            "memory.cell": torch.where(used[..., None], cell, state["memory.cell"]),
        }
        return after, loss

    def _lstm(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the LSTM of every weight: `[ways, dim + 1, cells]` each."""
        gates = inputs @ self.from_input.T + hidden @ self.from_hidden.T + self.bias
        take, keep, value, show = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(value)
        return torch.sigmoid(show) * torch.tanh(cell), cell
