"""Full fine-tuning: ordinary supervised training, then plain gradient descent on every weight.

The baseline that meta-learning is compared with; Dhillon et al., "A Baseline for Few-Shot Image
Classification", ICLR 2020.
"""

from __future__ import annotations

from typing import ClassVar

from export.learners.recipe import MIRROR, VALIDATE_5, Recipe
from export.learners.whole_network import WholeNetwork
from export.train_options import TrainOptions


class FullFinetune(WholeNetwork):
    """The head starts at zero; its step size and the body's are options."""

    name = "full_finetune"
    objective = "pretrain"
    learns_head = False
    defaults: ClassVar[dict[str, int | float]] = {"rate": 0.01, "head_rate": 1.0}
    recipes: ClassVar[dict[str, Recipe]] = {
        "omniglot": Recipe(
            inner_steps=10,
            train=TrainOptions(
                steps=20_000,
                batch_size=256,
                augment=MIRROR,
                outer_lr=3e-3,
                validation=VALIDATE_5,
                validation_batches=10,
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
                validation=VALIDATE_5,
                validation_batches=10,
                validate_every=300,
            ),
        ),
    }

    def rates(self) -> dict[str, float]:
        body = dict.fromkeys(self.names, self.setting("rate"))
        head = self.setting("head_rate")
        return {**body, "head.weight": head, "head.bias": head}
