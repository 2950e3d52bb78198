"""Ordinary supervised training on the training classes: what transfer learners start from.

Chen et al., "A Closer Look at Few-shot Classification", ICLR 2019.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from export.augment import augment
from export.objectives.base import Objective, OuterLoss

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import Learner
    from export.tasks.base import ImagePool
    from export.train_options import TrainOptions

_INITIAL_SCALE = 10.0


Examples = tuple["Tensor", "Tensor"]
"""Augmented images `[n, *input_shape]` and their classes, int64 `[n]`."""


class Pretrain(Objective[Examples]):
    """Cross-entropy over all training classes at once, with a classifier that is thrown away.

    The classifier is a softmax over cosines with a learned scale ("Baseline++" of the paper;
    Gidaris & Komodakis, "Dynamic Few-Shot Visual Learning without Forgetting", CVPR 2018). With the
    augmentation `mirror` every class has a mirrored twin, which is a class of its own.
    """

    name = "pretrain"

    def __init__(
        self, pool: ImagePool, options: TrainOptions, learner: Learner, *, seed: int
    ) -> None:
        super().__init__()
        self.pool, self.options = pool, options
        present, self.labels = np.unique(pool.classes, return_inverse=True)
        self.num_classes = len(present)
        outputs = self.num_classes * (2 if options.augment.mirror else 1)
        like = next(learner.parameters())
        was_training = learner.training
        with torch.no_grad():
            example = like.new_zeros(1, *learner.options.input_shape)
            dim = learner.eval().represent(example).shape[-1]
        learner.train(was_training)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(outputs, dim, generator=generator) * dim**-0.5
        self.classifier = nn.Parameter(rows.to(like))
        self.log_scale = nn.Parameter(like.new_tensor(math.log(_INITIAL_SCALE)))

    def draw(self, rng: np.random.Generator) -> Examples:
        """See `Objective`."""
        o = self.options
        rows = rng.integers(len(self.pool.images), size=o.batch_size)
        labels = torch.from_numpy(self.labels[rows])
        x = torch.from_numpy(self.pool.inputs(rows))
        if o.augment.mirror:
            mirrored = torch.from_numpy(rng.random(len(rows)) < 0.5)
            x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
            labels = labels + mirrored * self.num_classes
        x = augment(x, images_per_class=1, options=replace(o.augment, mirror=False), rng=rng)
        return x, labels

    def measure(self, learner: Learner, drawn: Examples, fraction: float) -> OuterLoss:
        """See `Objective`."""
        del fraction
        x, labels = drawn
        labels = labels.to(self.classifier.device)
        found = self.placement.features(learner.represent, x.to(self.classifier))
        z = functional.normalize(found, dim=-1)
        cosines = z @ functional.normalize(self.classifier, dim=-1).T
        logits = torch.exp(self.log_scale) * cosines
        loss = functional.cross_entropy(logits, labels)
        with torch.no_grad():
            accuracy = (logits.argmax(-1) == labels).to(loss.dtype).mean()
        return OuterLoss(loss=loss, shown=loss.item(), accuracy=accuracy.item())
