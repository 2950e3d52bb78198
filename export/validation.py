"""How a learner does on validation episodes while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from export.episode_loss import episode_loss

if TYPE_CHECKING:
    from export.learners.base import Learner
    from export.tasks.sampler import EpisodeSampler

_STREAM = 1  # of a run's seed; training draws from stream 0


def validate(
    learner: Learner, sampler: EpisodeSampler, *, batches: int, seed: int
) -> tuple[float, float]:
    """Mean query accuracy (0..1) and loss (nats) on `batches` batches that depend on `seed` alone.

    The learner is put into eval mode for the measurement, and then back.
    """
    rng = np.random.default_rng([seed, _STREAM])
    was_training = learner.training
    learner.eval()
    try:
        with torch.no_grad():
            found = [episode_loss(learner, sampler.draw(rng)) for _ in range(batches)]
    finally:
        learner.train(was_training)
    accuracy = sum(accuracy.item() for _, accuracy in found) / batches
    return accuracy, sum(loss.item() for loss, _ in found) / batches
