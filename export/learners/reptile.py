"""Reptile: a starting point that lies near the solutions of all tasks.

Nichol, Achiam, Schulman, "On First-Order Meta-Learning Algorithms", 2018.
"""

from __future__ import annotations

from typing import ClassVar

from export.learners.recipe import MIRROR, VALIDATE_5, Recipe
from export.learners.whole_network import WholeNetwork
from export.tasks.sampler import EpisodeOptions
from export.train_options import TrainOptions

_EPISODES = EpisodeOptions(ways=5, shots=2, queries=8, draws=8)


class Reptile(WholeNetwork):
    """One step size for all weights, an option: nothing differentiates through it.

    In training each inner step takes another minibatch of an episode; see
    `export.objectives.reptile`.
    """

    name = "reptile"
    objective = "reptile"
    defaults: ClassVar[dict[str, int | float]] = {"rate": 0.3}
    recipes: ClassVar[dict[str, Recipe]] = {
        "omniglot": Recipe(
            train=TrainOptions(
                steps=10_000,
                episodes=_EPISODES,
                augment=MIRROR,
                outer_lr=3e-3,
                validation=VALIDATE_5,
                validation_batches=10,
                validate_every=500,
            )
        ),
        "glyphs": Recipe(
            train=TrainOptions(
                steps=600,
                episodes=_EPISODES,
                outer_lr=3e-3,
                validation=VALIDATE_5,
                validation_batches=10,
                validate_every=200,
            )
        ),
    }

    def rates(self) -> dict[str, float]:
        rate = self.setting("rate")
        return dict.fromkeys((*self.names, "head.weight", "head.bias"), rate)
