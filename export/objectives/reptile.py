"""Reptile: move the starting point towards where adapting took it.

Nichol, Achiam, Schulman, "On First-Order Meta-Learning Algorithms", 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from export.learners.adaptation import adapt_all, predict_mean
from export.objectives.base import EpisodeObjective, Episodes, OuterLoss

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import Learner, State
    from export.tasks.base import EpisodeBatch


class Reptile(EpisodeObjective):
    """Surrogate loss whose gradient is the mean of (start - adapted) over episodes.

    Support and query images of an episode are one set here. Each inner step sees another part of
    it (`ways * shots` examples): what Reptile learns beyond joint training is in the products of
    gradients on different minibatches (section 5 of the paper).
    """

    name = "reptile"

    def measure(self, learner: Learner, drawn: Episodes, fraction: float) -> OuterLoss:
        """See `Objective`."""
        del fraction
        batch, images = drawn
        features, labels = _minibatches(learner, batch, images)
        weights = features.new_ones(labels.shape[-1])

        def one_episode(parts: Tensor, truth: Tensor) -> tuple[State, Tensor]:
            state = learner.init(batch.ways)
            for i in range(learner.steps):
                k = i % len(parts)
                state, _ = adapt_all(learner, state, parts[k], truth[k], weights, steps=1)
            # judged on the minibatch that would come next; new to it in runs longer than `steps`
            return state, predict_mean(learner, state, parts[learner.steps % len(parts)])

        with torch.no_grad():
            adapted, logits = torch.func.vmap(one_episode)(features, labels)
            truth = labels[:, learner.steps % labels.shape[1]]
            shown = functional.cross_entropy(logits.flatten(0, 1), truth.flatten())
            accuracy = (logits.argmax(-1) == truth).to(shown.dtype).mean()
        start = learner.init(batch.ways)
        loss = torch.stack(
            [
                (tensor * (tensor.detach() - adapted[name].mean(0))).sum()
                for name, tensor in start.items()
                if tensor.requires_grad
            ]
        ).sum()
        return OuterLoss(loss=loss, shown=shown.item(), accuracy=accuracy.item())


def _minibatches(learner: Learner, batch: EpisodeBatch, images: Tensor) -> tuple[Tensor, Tensor]:
    """The episodes' images in minibatches: features `[episodes, parts, n, ...]`, labels alike."""
    with torch.no_grad():
        features = learner.embed(images.to(next(learner.parameters())))
    ways, episodes = batch.ways, len(batch.support)
    shots = batch.support.shape[1] // ways
    by_class = torch.cat(
        [
            torch.from_numpy(rows).to(features.device).reshape(episodes, ways, -1)
            for rows in (batch.support, batch.query)
        ],
        dim=-1,
    )
    parts = by_class.shape[-1] // shots
    rows = by_class[..., : parts * shots].reshape(episodes, ways, parts, shots)
    labels = torch.arange(ways, device=rows.device)[:, None].expand(episodes, parts, ways, shots)
    return features[rows.transpose(1, 2).flatten(2)], labels.flatten(2)
