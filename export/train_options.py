"""What the trainer is told, and what it reports."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from edge_sdk.errors import InvalidOptionError
from export.augment import AugmentOptions
from export.tasks.sampler import EpisodeOptions

StopReason = Literal["steps", "minutes", "patience"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """One meta-training run.

    Attributes:
        seed: Source of all randomness of the run (the learner's first weights have their own).
        steps: Outer steps. Same seed, options and machine: same weights, bit for bit.
        minutes: Wall-clock budget, which replaces `steps` where it is given. The learning rate then
            follows the elapsed time, so that such a run is not repeatable to the bit.
        episodes: The training episodes of one outer step.
        augment: Random maps of training images.
        batch_size: Training images of one outer step of supervised pre-training.
        deep_supervision: Part of the run in whose course the query loss moves from the mean over
            all inner steps to the last one, 0..1; 0: the last one all along.
        compile: Compile the query loss with its gradient, which takes a minute or several and a C++
            compiler: for long runs on episodes of one shape.
        outer_lr: Adam's step size at the start; it falls to zero on a half cosine.
        gradient_norm: Largest L2 norm of a meta-gradient; longer ones are shortened to it.
        validation: One batch of validation episodes; None: none, and the last weights are kept.
        validation_batches: Batches of each validation, the same ones every time.
        validate_every: Outer steps between validations.
        patience: Validations in a row without a new best accuracy that end the run; None: never.
        checkpoint_every: Outer steps between checkpoints, where a checkpoint is asked for.
    """

    seed: int = 0
    steps: int = 1000
    minutes: float | None = None
    episodes: EpisodeOptions = field(default_factory=EpisodeOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    batch_size: int = 128
    deep_supervision: float = 0.0
    compile: bool = False
    outer_lr: float = 1e-3
    gradient_norm: float = 10.0
    validation: EpisodeOptions | None = None
    validation_batches: int = 20
    validate_every: int = 250
    patience: int | None = None
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        if self.seed < 0:
            msg = f"seed must be >= 0, got {self.seed}"
            raise InvalidOptionError(msg)
        for name in (
            "steps",
            "batch_size",
            "validation_batches",
            "validate_every",
            "checkpoint_every",
            "patience",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                msg = f"{name} must be >= 1, got {value}"
                raise InvalidOptionError(msg)
        if not 0 <= self.deep_supervision <= 1:
            msg = f"deep_supervision must be in 0..1, got {self.deep_supervision}"
            raise InvalidOptionError(msg)
        if self.compile and self.deep_supervision > 0:
            msg = "deep_supervision cannot be compiled; leave one of them out"
            raise InvalidOptionError(msg)
        most, episodes = self.episodes.largest, self.episodes
        mixed = (most.ways, most.shots) != (episodes.ways, episodes.shots)
        if self.compile and mixed:
            msg = (
                "episodes with mixed ways or shots cannot be compiled, as each mixture would be "
                "compiled anew; leave compile out, or max_ways and max_shots"
            )
            raise InvalidOptionError(msg)
        for name in ("outer_lr", "gradient_norm", "minutes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                msg = f"{name} must be finite and positive, got {value}"
                raise InvalidOptionError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """What one validation found: mean query accuracy (0..1) and loss (nats)."""

    step: int
    accuracy: float
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """How a run went. The learner holds the best weights and is in eval mode.

    Attributes:
        steps: Outer steps taken, those before a resumption included.
        seconds: Wall time, that before a resumption included.
        stopped_by: What ended the run.
        best: The validation whose weights were kept; None without validation.
        validations: All of them, in order.
        losses: Training loss of every outer step, in nats.
    """

    steps: int
    seconds: float
    stopped_by: StopReason
    best: Validation | None
    validations: tuple[Validation, ...]
    losses: tuple[float, ...]
