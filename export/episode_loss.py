"""Loss and accuracy of a learner on a batch of episodes, all at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from export.learners.adaptation import adapt_all, predict_both, predict_mean
from export.learners.many_tasks import ManyTasks
from export.placement import ON_CPU

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from export.learners.base import Learner
    from export.placement import Placement
    from export.tasks.base import EpisodeBatch


def episode_loss(
    learner: Learner,
    batch: EpisodeBatch,
    images: Tensor | None = None,
    *,
    placement: Placement = ON_CPU,
) -> tuple[Tensor, Tensor]:
    """Adapt to each support set, score each query set, average.

    Every image is embedded once, in a call that mixes the episodes; adapting is mapped over them.

    Args:
        learner: In train or eval mode.
        batch: Which images serve what.
        images: `[num_images, *input_shape]` to use in place of those of `batch`.
        placement: How images are embedded; the device is the learner's.

    Returns:
        Mean cross-entropy on the query sets in nats, `[]`, differentiable in the
        meta-parameters, and mean accuracy, `[]`, without a gradient. Of a regression, see
        `value_loss`.
    """
    episodes = embedded(learner, batch, images, placement=placement)
    prediction, variance = mapped_predictions(learner, batch.ways, *episodes)
    answers = torch.from_numpy(batch.query_y).to(prediction.device)
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
    return mapped_predictions(learner, batch.ways, *embedded(learner, batch, images))


def embedded(
    learner: Learner,
    batch: EpisodeBatch,
    images: Tensor | None = None,
    *,
    placement: Placement = ON_CPU,
) -> tuple[Tensor, Tensor, Tensor]:
    """Features of the support sets, their labels or values, and features of the query sets.

    The first axis of each is that of the episodes; all are on the learner's device.
    """
    if images is None:
        images = torch.from_numpy(batch.images)
    like = next(learner.parameters())
    features = placement.features(learner.embed, images.to(like))
    answers = torch.from_numpy(batch.support_y).to(like.device)
    if answers.is_floating_point():
        answers = answers.to(features.dtype)
    support, query = (
        torch.from_numpy(rows).to(like.device) for rows in (batch.support, batch.query)
    )
    return features[support], answers, features[query]


def mapped_predictions(
    learner: Learner, ways: int, support: Tensor, answers: Tensor, query: Tensor
) -> tuple[Tensor, Tensor | None]:
    """What `episode_predictions` gives, of embedded episodes.

    Args:
        learner: Whose `init`, `adapt` and `predict` are mapped over the episodes, unless it says
            how it computes many at once (`ManyTasks`).
        ways: Classes in each.
        support: `[episodes, n, *feature_shape]`.
        answers: Labels int64 `[episodes, n]`, or values `[episodes, n, outputs]`.
        query: `[episodes, m, *feature_shape]`.
    """
    if isinstance(learner, ManyTasks):
        *_, logits = _logits_of_tasks(learner, ways, support, answers, query, only_last=True)
        return logits, None
    weights = support.new_ones(support.shape[1])

    def one_episode(support: Tensor, answers: Tensor, query: Tensor) -> tuple[Tensor, ...]:
        state, _ = adapt_all(learner, learner.init(ways), support, answers, weights)
        prediction, variance = predict_both(learner, state, query)
        return (prediction,) if variance is None else (prediction, variance)

    found: tuple[Tensor, ...] = torch.func.vmap(one_episode)(support, answers, query)
    return found[0], found[1] if len(found) > 1 else None


def mapped_logits_by_step(
    learner: Learner, ways: int, support: Tensor, labels: Tensor, query: Tensor
) -> tuple[Tensor, ...]:
    """The logits of `mapped_predictions` after each of the learner's inner steps."""
    if isinstance(learner, ManyTasks):
        return tuple(_logits_of_tasks(learner, ways, support, labels, query))
    weights = support.new_ones(support.shape[1])

    def one_episode(support: Tensor, labels: Tensor, query: Tensor) -> tuple[Tensor, ...]:
        state, logits = learner.init(ways), []
        for _ in range(learner.steps):
            state, _ = adapt_all(learner, state, support, labels, weights, steps=1)
            logits.append(predict_mean(learner, state, query))
        return tuple(logits)

    found: tuple[Tensor, ...] = torch.func.vmap(one_episode)(support, labels, query)
    return found


def _logits_of_tasks(
    learner: ManyTasks,
    ways: int,
    support: Tensor,
    labels: Tensor,
    query: Tensor,
    *,
    only_last: bool = False,
) -> Iterator[Tensor]:
    """The logits after each inner step, or after the last one."""
    state = learner.init_tasks(ways, len(support))
    for left in reversed(range(learner.steps)):
        state = learner.adapt_tasks(state, support, labels)
        if left == 0 or not only_last:
            yield learner.predict_tasks(state, query)
