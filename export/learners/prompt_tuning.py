"""Prompt tuning: a frozen transformer that a few learned tokens steer.

Lester, Al-Rfou, Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning", EMNLP 2021;
for vision Jia et al., "Visual Prompt Tuning", ECCV 2022 (fresh prompts for each layer, "deep").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from export.learners.vit_transfer import VitTransfer

if TYPE_CHECKING:
    from export.learners.base import LearnerOptions, State


class PromptTuning(VitTransfer):
    """State: soft prompts of the adapted layers, and the head.

    The prompts a user starts from are pre-trained with the transformer, which so learns to be
    steered by them.
    """

    name = "prompt_tuning"
    # prompts act through attention alone, so their gradients are small
    defaults: ClassVar[dict[str, int | float]] = {
        **VitTransfer.defaults,
        "prompts": 4,
        "rate": 100.0,
    }

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        count = self.size("prompts")
        self.prompts = nn.Parameter(torch.randn(self.num_adapted, count, self.dim))

    def adapters(self) -> State:
        return {"prompts": self.prompts}

    def run_top(self, adapters: State, tokens: Tensor) -> Tensor:
        out: Tensor = self.top(tokens, prompts=adapters["prompts"])
        return out
