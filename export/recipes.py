"""How a learner is trained on a source by default: its own recipe, or one that suits most."""

from __future__ import annotations

from export.learners.recipe import MIRROR, ONE_SHOT_20, VALIDATE_20, Recipe
from export.learners.registry import learner_class
from export.tasks.sampler import EpisodeOptions
from export.train_options import TrainOptions

_GENERIC: dict[str, Recipe] = {
    "omniglot": Recipe(
        train=TrainOptions(
            steps=5000,
            episodes=ONE_SHOT_20,
            augment=MIRROR,
            outer_lr=3e-3,
            validation=VALIDATE_20,
            validate_every=500,
        )
    ),
    "sinusoids": Recipe(
        hidden=40,
        train=TrainOptions(
            steps=4000,
            episodes=EpisodeOptions(shots=1, max_shots=20, queries=20, draws=32),
            validation=EpisodeOptions(shots=10, queries=50, draws=100),
            validation_batches=5,
            validate_every=500,
        ),
    ),
}
_GENERIC_ELSEWHERE = Recipe(
    train=TrainOptions(
        steps=600,
        episodes=ONE_SHOT_20,
        outer_lr=3e-3,
        validation=VALIDATE_20,
        validate_every=300,
    )
)


def recipe(learner: str, tasks: str) -> Recipe:
    """The default recipe for a learner on a source of tasks.

    A source that is another cut of the same data, such as `omniglot-lake`, shares its recipe. A
    learner without one of its own for a source is trained as most are.

    Raises:
        InvalidOptionError: There is no such learner.
    """
    own = learner_class(learner).recipes
    family = tasks.partition("-")[0]
    for known in (own, _GENERIC):
        for name in (tasks, family):
            if name in known:
                return known[name]
    return _GENERIC_ELSEWHERE
