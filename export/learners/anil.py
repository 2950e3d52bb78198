"""ANIL: MAML that adapts only the head.

Raghu et al., "Rapid Learning or Feature Reuse?", ICLR 2020.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from export.learners.frozen_head import SgdHead

if TYPE_CHECKING:
    from export.learners.base import LearnerOptions

INITIAL_RATE = 1.0


class Anil(SgdHead):
    """Features and step size are learned, so that a few steps on the head suffice."""

    name = "anil"

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.log_rate = nn.Parameter(torch.tensor(math.log(INITIAL_RATE)))

    def rate(self) -> Tensor:
        return torch.exp(self.log_rate)
