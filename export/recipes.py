"""How each learner is trained on each source by default: sizes and rates in one place."""

from __future__ import annotations

from dataclasses import dataclass

from edge_sdk.errors import InvalidOptionError
from export.augment import AugmentOptions
from export.tasks.sampler import EpisodeOptions
from export.train_options import TrainOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What to train and how.

    Attributes:
        hidden: Channels of the backbone.
        inner_steps: Inner steps of gradient learners.
        train: The run.
    """

    hidden: int = 64
    inner_steps: int = 5
    train: TrainOptions


_MIRROR = AugmentOptions(mirror=True)
_TWENTY_WAYS = EpisodeOptions(ways=20, shots=1, queries=5, draws=4)
_FIVE_WAYS = EpisodeOptions(ways=5, shots=1, queries=5, draws=8)
_ONE_SHOT_128 = EpisodeOptions(ways=128, queries=1, symmetric=True)

_RECIPES: dict[tuple[str, str], Recipe] = {
    # 15 minutes on two cores
    ("prototypical", "omniglot"): Recipe(
        train=TrainOptions(
            steps=20_000,
            episodes=_ONE_SHOT_128,
            augment=_MIRROR,
            outer_lr=6e-3,
            validation=_TWENTY_WAYS,
            validate_every=1000,
            checkpoint_every=500,
        )
    ),
    # for the demo: under a minute on two cores
    ("prototypical", "glyphs"): Recipe(
        train=TrainOptions(
            steps=600,
            episodes=_ONE_SHOT_128,
            outer_lr=3e-3,
            validation=_TWENTY_WAYS,
            validate_every=300,
            checkpoint_every=100,
        )
    ),
    ("anil", "omniglot"): Recipe(
        train=TrainOptions(
            steps=5000,
            episodes=EpisodeOptions(ways=20, queries=1, draws=8, symmetric=True),
            augment=_MIRROR,
            outer_lr=3e-3,
            validation=_TWENTY_WAYS,
            validate_every=500,
        )
    ),
    ("anil", "glyphs"): Recipe(
        train=TrainOptions(
            steps=600,
            episodes=EpisodeOptions(ways=20, queries=1, draws=8, symmetric=True),
            outer_lr=3e-3,
            validation=_TWENTY_WAYS,
            validate_every=300,
        )
    ),
    ("maml", "omniglot"): Recipe(
        train=TrainOptions(
            steps=3000,
            episodes=EpisodeOptions(ways=5, queries=1, draws=4, symmetric=True),
            augment=_MIRROR,
            outer_lr=5e-3,
            validation=_FIVE_WAYS,
            validation_batches=10,
            validate_every=500,
        )
    ),
    ("maml", "glyphs"): Recipe(
        train=TrainOptions(
            steps=400,
            episodes=EpisodeOptions(ways=5, queries=1, draws=4, symmetric=True),
            outer_lr=5e-3,
            validation=_FIVE_WAYS,
            validation_batches=10,
            validate_every=200,
        )
    ),
}


def recipe(learner: str, tasks: str) -> Recipe:
    """The default recipe for a learner on a source of tasks.

    Raises:
        InvalidOptionError: There is none, for example because the source is for testing only.
    """
    tasks = tasks.removesuffix("-lake")
    if (learner, tasks) not in _RECIPES:
        known = ", ".join(f"{a} on {b}" for a, b in sorted(_RECIPES))
        msg = f"there is no recipe for {learner} on {tasks}; there are: {known}"
        raise InvalidOptionError(msg)
    return _RECIPES[learner, tasks]
