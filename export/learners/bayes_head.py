"""A Bayesian head: a Gaussian posterior, guessed from the class means and refined by gradient.

After Ravi & Beatson, "Amortized Bayesian Meta-Learning", ICLR 2019, on frozen features.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from export.learners.base import one_hot, support_loss
from export.learners.frozen import ProjectedLearner, running_means, unit_rows
from export.learners.gaussian_softmax import gaussian_softmax
from export.learners.recipe import MIXED_60, Recipe, comparing_recipes

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import LearnerOptions, Role, State

INITIAL_SCALE = 10.0
INITIAL_LOG_VARIANCE = -5.0
INITIAL_MEAN_RATE, INITIAL_VARIANCE_RATE = 0.01, 0.1
INITIAL_KL_WEIGHT = 0.01

MEAN, LOG_VARIANCE = "head.mean", "head.log_variance"


class BayesHead(ProjectedLearner):
    """State: mean and log-variance of a normal posterior over each row of the head.

    A step on a slot's first examples starts it at a guess: a learned gain times their mean
    direction, and a learned variance that shrinks with their number. Every step then descends the
    negative evidence bound per example, the expected loss (in closed form, `gaussian_softmax`) plus
    a learned weight times the divergence from the learned prior of the rows that the support set
    shows; rows of labels taught before move only as far as the new examples ask. Step sizes are
    learned.
    """

    name = "bayes_head"
    adaptation = "gradient"
    roles: ClassVar[dict[str, Role]] = {
        MEAN: "personal",
        LOG_VARIANCE: "personal",
        "counts": "personal",
    }
    has_variance = True
    defaults: ClassVar[dict[str, int | float]] = {"dim": 128}
    recipes: ClassVar[dict[str, Recipe]] = comparing_recipes(MIXED_60)

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        self.gain = nn.Parameter(torch.ones(self.dim))
        self.log_variance = nn.Parameter(torch.full((self.dim,), INITIAL_LOG_VARIANCE))
        self.shot_slope = nn.Parameter(torch.tensor(-0.5))
        self.prior_mean = nn.Parameter(torch.zeros(self.dim))
        self.prior_log_variance = nn.Parameter(torch.full((self.dim,), -math.log(self.dim)))
        self.log_rates = nn.Parameter(
            torch.tensor([INITIAL_MEAN_RATE, INITIAL_VARIANCE_RATE]).log()
        )
        self.log_kl_weight = nn.Parameter(torch.tensor(math.log(INITIAL_KL_WEIGHT)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))

    def init(self, ways: int) -> State:
        return {
            MEAN: self.prior_mean.expand(ways, -1).clone(),
            LOG_VARIANCE: self.prior_log_variance.expand(ways, -1).clone(),
            "counts": self.log_scale.new_zeros(ways),
        }

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        before = state["counts"]
        rows = unit_rows(features)
        pooled, seen = running_means(
            torch.zeros_like(state[MEAN]), torch.zeros_like(before), rows, labels, weights
        )
        counts = torch.maximum(before, seen)
        start = self._guess_new_rows(state, pooled, seen)
        hot = one_hot(labels, counts.shape[0], features.dtype)

        def loss_of(posterior: State) -> Tensor:
            logits, _ = self.predict({**posterior, "counts": counts}, features)
            return support_loss(logits, hot, weights)

        def bound(posterior: State) -> Tensor:
            divergence = torch.where(seen > 0, self._divergence(posterior), 0.0).sum()
            penalty = torch.exp(self.log_kl_weight) * divergence / weights.sum()
            return loss_of(posterior) + penalty

        grads = torch.func.grad(bound)(start)
        # the gradient of a row shrinks as 1 / ways; undo it, so that one rate suits any ways
        rates = torch.exp(self.log_rates) * (counts > 0).to(features.dtype).sum()
        after = {
            MEAN: start[MEAN] - rates[0] * grads[MEAN],
            LOG_VARIANCE: start[LOG_VARIANCE] - rates[1] * grads[LOG_VARIANCE],
            "counts": counts,
        }
        return after, loss_of(state)

    def predict(self, state: State, features: Tensor) -> tuple[Tensor, Tensor]:
        rows, scale = unit_rows(features), torch.exp(self.log_scale)
        mean = scale * (rows @ state[MEAN].T)
        variance = scale * scale * ((rows * rows) @ torch.exp(state[LOG_VARIANCE]).T)
        return gaussian_softmax(mean, variance, state["counts"])

    def _guess_new_rows(self, state: State, pooled: Tensor, seen: Tensor) -> State:
        """Rows of slots that the support set shows for the first time start at the guess."""
        new = ((seen > 0) & (state["counts"] == 0))[:, None]
        shots = torch.log(torch.where(seen > 0, seen, 1.0))[:, None]
        return {
            MEAN: torch.where(new, self.gain * unit_rows(pooled), state[MEAN]),
            LOG_VARIANCE: torch.where(
                new, self.log_variance + self.shot_slope * shots, state[LOG_VARIANCE]
            ),
        }

    def _divergence(self, posterior: State) -> Tensor:
        """KL divergence of each row's posterior from the prior, `[ways]`, in nats."""
        log_ratio = posterior[LOG_VARIANCE] - self.prior_log_variance
        gap = posterior[MEAN] - self.prior_mean
        each = torch.exp(log_ratio) + gap * gap * torch.exp(-self.prior_log_variance) - 1
        return 0.5 * (each - log_ratio).sum(-1)
