"""Linear probe: features of ordinary supervised training, and a new softmax head on them.

The "Baseline" of Chen et al., "A Closer Look at Few-shot Classification", ICLR 2019; Tian et al.,
"Rethinking Few-Shot Image Classification: a Good Embedding Is All You Need?", ECCV 2020.
"""

from __future__ import annotations

from typing import ClassVar

from export.learners.frozen_head import SgdHead
from export.learners.recipe import MIRROR, VALIDATE_20, Recipe
from export.train_options import TrainOptions


class LinearProbe(SgdHead):
    """Nothing is meta-learned: the backbone is pre-trained on the training classes, then frozen."""

    name = "linear_probe"
    objective = "pretrain"
    defaults: ClassVar[dict[str, int | float]] = {"rate": 0.2}
    recipes: ClassVar[dict[str, Recipe]] = {
        "omniglot": Recipe(
            inner_steps=10,
            train=TrainOptions(
                steps=20_000,
                batch_size=256,
                augment=MIRROR,
                outer_lr=3e-3,
                validation=VALIDATE_20,
                validate_every=1000,
                checkpoint_every=500,
            ),
        ),
        "glyphs": Recipe(
            inner_steps=10,
            train=TrainOptions(
                steps=600,
                batch_size=256,
                outer_lr=3e-3,
                validation=VALIDATE_20,
                validate_every=300,
            ),
        ),
    }

    def rate(self) -> float:
        return self.setting("rate")
