"""A small network that judges every pair of a query and a class."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class PairNetwork(nn.Module):
    """Two layers on concatenated features (query, class), with a shortcut around the second.

    The first layer of a concatenation is a sum of one product for each part, so that each query
    and each class is multiplied once and not once a pair. Its weights start as W and -W: the
    hidden units start as random directions of the difference between query and class, and the
    output as minus a distance between the two.
    """

    def __init__(self, dim: int, units: int, outputs: int = 1) -> None:
        """Args: `dim` features of each part, `units` of both layers, `outputs` a pair."""
        super().__init__()
        first = torch.randn(dim, units) / math.sqrt(dim)
        self.query = nn.Parameter(first)
        self.of_class = nn.Parameter(-first.clone())
        self.bias = nn.Parameter(torch.zeros(units))
        self.second = nn.Parameter(torch.randn(units, units) * math.sqrt(2 / units))
        self.second_bias = nn.Parameter(torch.zeros(units))
        shortcut = torch.zeros(units, outputs)
        shortcut[:, 0] = -8 / units
        self.shortcut = nn.Parameter(shortcut)
        self.out = nn.Parameter(torch.randn(units, outputs) * 0.1 / math.sqrt(units))

    def forward(self, query: Tensor, of_class: Tensor) -> Tensor:
        """Judge `query` `[n, dim]` against `of_class` `[ways, dim]`: `[n, ways, outputs]`."""
        pairs = (query @ self.query)[:, None] + of_class @ self.of_class + self.bias
        first = torch.relu(pairs)
        second = torch.relu(first @ self.second + self.second_bias)
        return first @ self.shortcut + second @ self.out
