"""Learners that adapt on the features of a frozen backbone, and what several of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from export.backbones.registry import BACKBONES, make_backbone
from export.learners.base import Learner, one_hot

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor

    from export.learners.base import LearnerOptions

_SMALL = 1e-6
"""Added to squared lengths. Torch's ONNX exporter leaves much smaller numbers out, as if 0."""


class FrozenLearner(Learner):
    """A learner whose `embed` is the backbone that its options name; features are `[n, dim]`."""

    backbones: ClassVar[Collection[str]] = BACKBONES.keys()

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.backbone = make_backbone(options.backbone, options.input_shape, options.hidden)
        self.dim = self.backbone.dim

    def trunk(self) -> dict[str, nn.Module]:
        return {"backbone": self.backbone}

    def embed(self, x: Tensor) -> Tensor:
        features: Tensor = self.backbone(x)
        return features


class ProjectedLearner(FrozenLearner):
    """Its features are a learned projection of the backbone's, of the setting `dim`."""

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        backbone_dim, self.dim = self.dim, self.size("dim")
        self.projection = nn.Linear(backbone_dim, self.dim, bias=False)

    def embed(self, x: Tensor) -> Tensor:
        features: Tensor = self.projection(self.backbone(x))
        return features


def unit_rows(x: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays one."""
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + _SMALL)


def running_means(
    means: Tensor, counts: Tensor, features: Tensor, labels: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Means of each slot's features so far, and their counts, with a support set taken in.

    Args:
        means: `[ways, dim]`, 0 where a slot is not in use.
        counts: `[ways]`: how many examples each mean rests on.
        features: `[n, dim]`.
        labels: int64 `[n]`.
        weights: `[n]`, >= 0.
    """
    weighted = one_hot(labels, counts.shape[0], features.dtype) * weights[:, None]
    after = counts + weighted.sum(0)
    sums = means * counts[:, None] + weighted.T @ features
    safe = torch.where(after > 0, after, 1.0)  # an unused slot keeps its mean of zero
    return sums / safe[:, None], after
