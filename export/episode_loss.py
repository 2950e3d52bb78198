"""Loss and accuracy of a learner on a batch of episodes, all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from export.learners.adaptation import adapt_all, predict_mean

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
        meta-parameters, and mean accuracy, `[]`, without a gradient.
    """
    logits = episode_logits(learner, batch, images)
    labels = torch.from_numpy(batch.query_y)
    loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    with torch.no_grad():
        accuracy = (logits.argmax(-1) == labels).to(logits.dtype).mean()
    return loss, accuracy


def episode_logits(learner: Learner, batch: EpisodeBatch, images: Tensor | None = None) -> Tensor:
    """Query logits after adapting, `[episodes, ways * queries, ways]`."""
    return mapped_logits(learner, batch.ways, *embedded(learner, batch, images))


def embedded(
    learner: Learner, batch: EpisodeBatch, images: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Features of the support sets, their labels, and features of the query sets, by episode."""
    if images is None:
        images = torch.from_numpy(batch.images)
    features = learner.embed(images.to(next(learner.parameters()).dtype))
    return (
        features[torch.from_numpy(batch.support)],
        torch.from_numpy(batch.support_y),
        features[torch.from_numpy(batch.query)],
    )


def mapped_logits(
    learner: Learner, ways: int, support: Tensor, labels: Tensor, query: Tensor
) -> Tensor:
    """Query logits of embedded episodes, `[episodes, ways * queries, ways]`.

    Args:
        learner: Whose `init`, `adapt` and `predict` are mapped over the episodes.
        ways: Classes in each.
        support: `[episodes, ways * shots, *feature_shape]`.
        labels: int64 `[episodes, ways * shots]`.
        query: `[episodes, ways * queries, *feature_shape]`.
    """
    weights = support.new_ones(support.shape[1])

    def one_episode(support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        state, _ = adapt_all(learner, learner.init(ways), support, labels, weights)
        return predict_mean(learner, state, query)

    logits: Tensor = torch.func.vmap(one_episode)(support, labels, query)
    return logits


def mapped_logits_by_step(
    learner: Learner, ways: int, support: Tensor, labels: Tensor, query: Tensor
) -> tuple[Tensor, ...]:
    """What `mapped_logits` gives, after each of the learner's inner steps."""
    weights = support.new_ones(support.shape[1])

    def one_episode(support: Tensor, labels: Tensor, query: Tensor) -> tuple[Tensor, ...]:
        state, logits = learner.init(ways), []
        for _ in range(learner.steps):
            state, _ = adapt_all(learner, state, support, labels, weights, steps=1)
            logits.append(predict_mean(learner, state, query))
        return tuple(logits)

    found: tuple[Tensor, ...] = torch.func.vmap(one_episode)(support, labels, query)
    return found
