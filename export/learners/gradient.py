"""One step of gradient descent in the inner loop, shared by every learner that takes such steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from export.learners.adaptation import predict_mean
from export.learners.base import one_hot, support_loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from export.learners.base import Learner, State


def examples_seen(state: State, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted number of examples of each slot in this support set, `[ways]`."""
    hot = one_hot(labels, state["counts"].shape[0], weights.dtype)
    return (hot * weights[:, None]).sum(0)


def slots_in_use(state: State, labels: Tensor, weights: Tensor) -> Tensor:
    """How many slots are in use once this support set is taken in, `[]`."""
    counts = torch.maximum(state["counts"], examples_seen(state, labels, weights))
    return (counts > 0).to(weights.dtype).sum()


def gradient_step(
    learner: Learner,
    state: State,
    features: Tensor,
    labels: Tensor,
    weights: Tensor,
    rates: Mapping[str, Tensor | float],
    *,
    first_order: bool = False,
) -> tuple[State, Tensor]:
    """Take one SGD step on the tensors that `rates` names, each with its own step size.

    The outer loop can differentiate through the result, to second order.

    Args:
        learner: Whose `predict` gives the logits.
        state: The current state; tensors that `rates` does not name stay as they are, but `counts`.
        features: `[n, *feature_shape]`.
        labels: int64 `[n]`.
        weights: `[n]`, >= 0.
        rates: Step sizes, each a number or of a shape that spreads to its tensor's.
        first_order: Take the gradients for constants in the outer loop (first-order MAML of Finn
            et al., ICML 2017): cheaper by the second derivatives, and no longer exact.

    Returns:
        The next state and the loss before the step, `[]`, in nats.
    """
    hot = one_hot(labels, state["counts"].shape[0], features.dtype)
    counts = torch.maximum(state["counts"], examples_seen(state, labels, weights))
    frozen = {**state, "counts": counts}
    trainable = {name: state[name] for name in rates}

    def loss_of(tensors: State) -> Tensor:
        logits = predict_mean(learner, {**frozen, **tensors}, features)
        return support_loss(logits, hot, weights)

    grads, loss = torch.func.grad_and_value(loss_of)(trainable)
    if first_order:
        grads = {name: grad.detach() for name, grad in grads.items()}
    after = {name: tensor - rates[name] * grads[name] for name, tensor in trainable.items()}
    return {**frozen, **after}, loss
