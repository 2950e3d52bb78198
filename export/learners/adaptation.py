"""How a learner is called on a whole support set: the one loop over its inner steps."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import Learner, State


def adapt_all(
    learner: Learner,
    state: State,
    features: Tensor,
    labels: Tensor,
    weights: Tensor,
    *,
    steps: int | None = None,
) -> tuple[State, Tensor]:
    """Adapt to a support set as the device does.

    Args:
        learner: Of any kind; a sequential one sees the examples one by one, and of weight 0 not at
            all.
        state: Where to start.
        features: `[n, *feature_shape]`.
        labels: int64 `[n]`, or values `[n, outputs]`.
        weights: `[n]`.
        steps: Inner steps; None: the learner's.

    Returns:
        The new state, and the loss of each call, `[calls]` (for a sequential learner n of them; one
        of weight 0 has loss 0).
    """
    losses: list[Tensor] = []
    if learner.adaptation != "sequential":
        for _ in itertools.repeat(None, learner.steps if steps is None else steps):
            state, loss = learner.adapt(state, features, labels, weights)
            losses.append(loss)
        return state, torch.stack(losses)
    for i in range(features.shape[0]):
        one = slice(i, i + 1)
        taken = weights[i] > 0
        # a skipped example is computed with weight 1, so that no 0 / 0 reaches a gradient
        seen = torch.where(taken, weights[one], 1.0)
        after, loss = learner.adapt(state, features[one], labels[one], seen)
        state = {name: torch.where(taken, after[name], state[name]) for name in state}
        losses.append(torch.where(taken, loss, 0.0))
    return state, torch.stack(losses)


def predict_both(learner: Learner, state: State, features: Tensor) -> tuple[Tensor, Tensor | None]:
    """What `learner.predict` gives, as a pair whose second is None without a variance."""
    found = learner.predict(state, features)
    return found if isinstance(found, tuple) else (found, None)


def predict_mean(learner: Learner, state: State, features: Tensor) -> Tensor:
    """The logits, or the mean, that `learner.predict` gives."""
    return predict_both(learner, state, features)[0]
