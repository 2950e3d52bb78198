"""Loss and accuracy of a learner on a batch of episodes, all at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from export.learners.adaptation import adapt_all, predict_both, predict_mean

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import Learner
    from export.tasks.base import EpisodeBatch


def episode_loss(
    learner: Learner, batch: EpisodeBatch, images: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Adapt to each support set, score each query set, average.

    Every image is embedded once, in a call that mixes the episodes; adapting is mapped over them.

    Args:
        learner: In train or eval mode.
        batch: Which images serve what.
        images: `[num_images, *input_shape]` to use in place of those of `batch`.

    Returns:
        Mean cross-entropy on the query sets in nats, `[]`, differentiable in the
        meta-parameters, and mean accuracy, `[]`, without a gradient. Of a regression, see
        `value_loss`.
    """
    prediction, variance = episode_predictions(learner, batch, images)
    answers = torch.from_numpy(batch.query_y)
    if learner.options.task == "regression":
        return value_loss(prediction, variance, answers.to(prediction.dtype))
    loss = functional.cross_entropy(prediction.flatten(0, 1), answers.flatten())
    with torch.no_grad():
        accuracy = (prediction.argmax(-1) == answers).to(prediction.dtype).mean()
    return loss, accuracy


def value_loss(mean: Tensor, variance: Tensor | None, values: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and score of predicted values; all are of one shape.

    Returns:
        Mean negative log-likelihood of normal predictions in nats, `[]`; without a variance the
        mean squared error. And the share of the values' mean square that is explained, `[]`,
        without a gradient.
    """
    squares = (mean - values) ** 2
    loss = squares.mean()
    if variance is not None:
        loss = 0.5 * (squares / variance + torch.log(2 * math.pi * variance)).mean()
    with torch.no_grad():
        score = 1 - squares.mean() / (values**2).mean()
    return loss, score


def episode_logits(learner: Learner, batch: EpisodeBatch, images: Tensor | None = None) -> Tensor:
    """Query logits after adapting, `[episodes, ways * queries, ways]`."""
    return episode_predictions(learner, batch, images)[0]


def episode_predictions(
    learner: Learner, batch: EpisodeBatch, images: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """What is predicted of the queries after adapting, and its variance where the learner has one.

    Each `[episodes, ways * queries, ways]`; of a regression `[episodes, queries, outputs]`.
    """
    features = _embedded(learner, batch, images)
    weights = features.new_ones(batch.support.shape[1])
    answers = torch.from_numpy(batch.support_y)
    if answers.is_floating_point():
        answers = answers.to(features.dtype)

    def one_episode(support: Tensor, labels: Tensor, query: Tensor) -> tuple[Tensor, ...]:
        state = learner.init(batch.ways)
        state, _ = adapt_all(learner, state, support, labels, weights)
        prediction, variance = predict_both(learner, state, query)
        return (prediction,) if variance is None else (prediction, variance)

    found: tuple[Tensor, ...] = torch.func.vmap(one_episode)(
        features[torch.from_numpy(batch.support)],
        answers,
        features[torch.from_numpy(batch.query)],
    )
    return found[0], found[1] if len(found) > 1 else None


def episode_logits_by_step(
    learner: Learner, batch: EpisodeBatch, images: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Query logits after each call of `adapt`, each `[episodes, ways * queries, ways]`."""
    features = _embedded(learner, batch, images)
    weights = features.new_ones(batch.support.shape[1])

    def one_episode(support: Tensor, labels: Tensor, query: Tensor) -> tuple[Tensor, ...]:
        state, logits = learner.init(batch.ways), []
        for _ in range(learner.steps):
            state, _ = learner.adapt(state, support, labels, weights)
            logits.append(predict_mean(learner, state, query))
        return tuple(logits)

    found: tuple[Tensor, ...] = torch.func.vmap(one_episode)(
        features[torch.from_numpy(batch.support)],
        torch.from_numpy(batch.support_y),
        features[torch.from_numpy(batch.query)],
    )
    return found


def _embedded(learner: Learner, batch: EpisodeBatch, images: Tensor | None) -> Tensor:
    if images is None:
        images = torch.from_numpy(batch.images)
    return learner.embed(images.to(next(learner.parameters()).dtype))
