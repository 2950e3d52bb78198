"""The objective protocol: from a run's random draws to a loss for the meta-parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from export.augment import augment
from export.placement import ON_CPU
from export.tasks.sampler import EpisodeSampler

if TYPE_CHECKING:
    import numpy as np

    from export.learners.base import Learner
    from export.placement import Placement
    from export.tasks.base import EpisodeBatch, ImagePool
    from export.tasks.functions import FunctionPool
    from export.train_options import TrainOptions


Drawn = TypeVar("Drawn")

Episodes = tuple["EpisodeBatch", "Tensor"]
"""A batch, and its images as they come out of the augmentation."""


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


class Objective(nn.Module, ABC, Generic[Drawn]):
    """What the outer loop lowers. Parameters of its own are trained along and thrown away.

    All that changes from step to step is in its `state_dict` or comes from the generator that it is
    given, so that a run can go on from a checkpoint as if it had never stopped.
    """

    name: ClassVar[str]
    placement: Placement = ON_CPU
    """How `measure` embeds images; its device is the learner's."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Drawn:
        """Draw the training data of one outer step; it depends on nothing but the generator.

        Called by a thread while `measure` works on the draw before (`export.draws`).

        Args:
            rng: Source of all randomness.
        """

    @abstractmethod
    def measure(self, learner: Learner, drawn: Drawn, fraction: float) -> OuterLoss:
        """Measure the loss on a draw.

        Args:
            learner: In train mode.
            drawn: What `draw` gave.
            fraction: Part of the run that is over, 0..1.
        """


class EpisodeObjective(Objective[Episodes]):
    """An objective on training episodes."""

    def __init__(self, pool: ImagePool | FunctionPool, options: TrainOptions) -> None:
        super().__init__()
        self.options = options
        self.sampler = EpisodeSampler(pool, options.episodes)

    def draw(self, rng: np.random.Generator) -> Episodes:
        """Episodes, and their images as they come out of the augmentation."""
        batch = self.sampler.draw(rng)
        images = augment(
            torch.from_numpy(batch.images),
            images_per_class=batch.images_per_class,
            options=self.options.augment,
            rng=rng,
        )
        return batch, images
