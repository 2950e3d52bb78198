"""Softmax of Gaussian logits in closed form: what Bayesian heads predict.

No random numbers, and no slot is special, as it would be with fixed normal nodes for each slot.
(Axes are added by `unsqueeze`: the gradient of an indexed axis does not trace.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from export.learners.base import UNUSED_LOGIT, mask_unused

if TYPE_CHECKING:
    from torch import Tensor

_PROBIT = math.pi / 8
"""MacKay, "The Evidence Framework Applied to Classification Networks", Neural Computation 1992."""

_SPREAD = 0.368
"""Daunizeau, "Semi-analytical approximations to statistical moments of sigmoid and softmax mappings
of normal variables", arXiv:1703.00091: variance of a sigmoid."""


def gaussian_softmax(mean: Tensor, variance: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of softmax(z) for independent normal logits z.

    The mean is the pairwise mean-field one (Lu, Ie, Sha, "Mean-Field Approximation to
    Gaussian-Softmax Integral with Application to Uncertainty Estimation", arXiv:2006.07584; exact
    softmax at variance 0, MacKay's probit for two classes). The variance is that of a sigmoid of
    the logit against the others' combined one.

    Args:
        mean: `[n, ways]`.
        variance: `[n, ways]`, >= 0.
        counts: `[ways]`; a slot is in use where it is above 0.

    Returns:
        Logarithms of the mean probabilities up to a constant, `[n, ways]`, `UNUSED_LOGIT` where a
        slot is not in use, and variances of the probabilities, `[n, ways]`, 0 there.
    """
    used = counts > 0
    gap = mean.unsqueeze(1) - mean.unsqueeze(2)  # [n, c, k]: how far k is ahead of c
    width = torch.sqrt(1 + _PROBIT * (variance.unsqueeze(1) + variance.unsqueeze(2)))
    rivals = torch.where(used, gap / width, UNUSED_LOGIT)
    # not torch.logsumexp: its trace holds infinity, which a bundle may not
    top = rivals.amax(-1, keepdim=True).detach()
    log_p = -(top.squeeze(-1) + torch.log(torch.exp(rivals - top).sum(-1)))
    log_p = mask_unused(log_p, counts)
    p = torch.softmax(log_p, dim=-1)
    ways = counts.shape[0]
    index = torch.arange(ways, device=counts.device)
    other = used & (index[:, None] != index)  # [c, k]
    share = torch.softmax(torch.where(other, gap, UNUSED_LOGIT), dim=-1)
    combined = variance + (share * share * variance.unsqueeze(1)).sum(-1)
    spread = p * (1 - p) * (1 - torch.rsqrt(1 + _SPREAD * combined))
    return log_p, torch.where(used, spread, 0.0)
