"""What a learner's file says of its training: a recipe for each source of tasks it was tried on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from export.augment import AugmentOptions
from export.tasks.sampler import EpisodeOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from export.train_options import TrainOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What to train and how.

    Attributes:
        hidden: Channels of the backbone.
        backbone: Name of the frozen backbone.
        inner_steps: Inner steps of gradient learners.
        settings: The learner's own options, where they are not its defaults.
        train: The run.
    """

    hidden: int = 64
    backbone: str = "conv4"
    inner_steps: int = 5
    settings: Mapping[str, int | float] = field(default_factory=dict)
    train: TrainOptions


MIRROR = AugmentOptions(mirror=True)
"""For characters: a mirrored one is another one. Not for glyphs, whose classes never run out."""

ONE_SHOT_128 = EpisodeOptions(ways=128, queries=1, symmetric=True)
"""Each of two images of 128 classes is in turn the prototype: for learners that only compare."""

ONE_SHOT_20 = EpisodeOptions(ways=20, queries=1, draws=8, symmetric=True)
ONE_SHOT_5 = EpisodeOptions(ways=5, queries=1, draws=4, symmetric=True)

MIXED_20 = EpisodeOptions(ways=5, max_ways=20, shots=1, max_shots=5, queries=5, draws=4)
"""Any number of ways and shots that the figures are given for, so that one bundle serves all."""

VALIDATE_20 = EpisodeOptions(ways=20, shots=1, queries=5, draws=4)
VALIDATE_5 = EpisodeOptions(ways=5, shots=1, queries=5, draws=8)
