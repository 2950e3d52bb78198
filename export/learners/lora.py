"""LoRA: a frozen transformer and low-rank changes of its weights.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from export.backbones.vit import PROJECTIONS
from export.learners.vit_transfer import VitTransfer

if TYPE_CHECKING:
    from export.learners.base import LearnerOptions, State

_Change = tuple[Tensor, Tensor]


class Lora(VitTransfer):
    """State: two thin matrices for each projection of the adapted layers, and the head.

    Attention's and the MLP's projections are changed alike: the product of the two matrices, times
    `alpha / rank`, is added to the weight. The second one starts at zero, so that nothing changes
    before the first step (section 4.1).
    """

    name = "lora"
    defaults: ClassVar[dict[str, int | float]] = {**VitTransfer.defaults, "alpha": 8.0, "rank": 4}

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        rank = self.size("rank")
        self.scaling = float(self.setting("alpha")) / rank
        down, up = [], []
        for layer in self.top.layers:
            for name in PROJECTIONS:
                inputs, outputs = layer.weights[name].shape
                down.append(nn.Parameter(torch.randn(inputs, rank) / math.sqrt(inputs)))
                up.append(torch.Size((rank, outputs)))
        self.names = [f"layer{i}.{name}" for i in range(self.num_adapted) for name in PROJECTIONS]
        self.down, self.up_shapes = nn.ParameterList(down), up

    def adapters(self) -> State:
        state: State = {}
        for name, down, shape in zip(self.names, self.down, self.up_shapes, strict=True):
            state[f"{name}.down"] = down
            state[f"{name}.up"] = down.new_zeros(shape)
        return state

    def run_top(self, adapters: State, tokens: Tensor) -> Tensor:
        def change(name: str) -> _Change:
            return adapters[f"{name}.down"] * self.scaling, adapters[f"{name}.up"]

        changes = {
            i: {name: change(f"layer{i}.{name}") for name in PROJECTIONS}
            for i in range(self.num_adapted)
        }
        out: Tensor = self.top(tokens, changes=changes)
        return out
