"""The objective protocol: from a run's random draws to a loss for the meta-parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from export.augment import augment
from export.tasks.sampler import EpisodeSampler

if TYPE_CHECKING:
    import numpy as np

    from export.learners.base import Learner
    from export.tasks.base import EpisodeBatch, ImagePool
    from export.tasks.functions import FunctionPool
    from export.train_options import TrainOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class OuterLoss:
    """What one draw gave.

    Attributes:
        loss: `[]`, differentiable; its gradient is the direction of the outer step.
        shown: Cross-entropy in nats for people to watch; `loss` itself where that is one.
        accuracy: Of the same predictions, 0..1.
    """

    loss: Tensor
    shown: float
    accuracy: float


class Objective(nn.Module, ABC):
    """What the outer loop lowers. Parameters of its own are trained along and thrown away.

    All that changes from step to step is in its `state_dict` or comes from the generator that it is
    given, so that a run can go on from a checkpoint as if it had never stopped.
    """

    name: ClassVar[str]

    @abstractmethod
    def measure(self, learner: Learner, rng: np.random.Generator, fraction: float) -> OuterLoss:
        """Draw training data and measure the loss on it.

        Args:
            learner: In train mode.
            rng: Source of all randomness.
            fraction: Part of the run that is over, 0..1.
        """


class EpisodeObjective(Objective):
    """An objective on training episodes."""

    def __init__(self, pool: ImagePool | FunctionPool, options: TrainOptions) -> None:
        super().__init__()
        self.options = options
        self.sampler = EpisodeSampler(pool, options.episodes)

    def draw(self, rng: np.random.Generator) -> tuple[EpisodeBatch, Tensor]:
        """Episodes, and their images as they come out of the augmentation."""
        batch = self.sampler.draw(rng)
        images = augment(
            torch.from_numpy(batch.images),
            images_per_class=batch.images_per_class,
            options=self.options.augment,
            rng=rng,
        )
        return batch, images
