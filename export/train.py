"""The one outer loop: measure the learner's objective, step the meta-parameters, validate."""

from __future__ import annotations

import json
import math
import time
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edge_sdk.errors import DivergedError
from export.checkpoint import (
    Checkpoint,
    CheckpointError,
    describe_learner,
    read_checkpoint,
    write_checkpoint,
)
from export.draws import Draws
from export.objectives.registry import make_objective
from export.placement import ON_CPU, Placement
from export.progress import TrainEvent
from export.ranks import Ranks, running_statistics
from export.tasks.base import TRAIN, VALIDATION
from export.tasks.sampler import EpisodeSampler
from export.train_options import StopReason, TrainOptions, TrainReport, Validation
from export.validation import validate
from export.warm_start import start_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from export.learners.base import Learner
    from export.objectives.base import OuterLoss
    from export.progress import Progress
    from export.tasks.base import TaskSource
    from export.tasks.functions import ValueSource

_STREAM = 0  # of the seed; validation draws from stream 1

ALONE = Ranks()


def train(
    learner: Learner,
    source: TaskSource | ValueSource,
    options: TrainOptions,
    *,
    start: Path | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
    ranks: Ranks = ALONE,
    placement: Placement = ON_CPU,
    background: bool = True,
) -> TrainReport:
    """Meta-train `learner` in place.

    Args:
        learner: With its first weights; a checkpoint to go on from replaces them.
        source: Training episodes come from its split "train", validation from "validation".
        options: The run.
        start: Checkpoint of a learner whose trunk this one starts with (`export.warm_start`).
        checkpoint: File to write checkpoints to; where it exists already, the run goes on from it.
            The result is that of a run that never stopped.
        progress: Told after each outer step.
        clock: Seconds that only grow, for `options.minutes` and the report.
        ranks: The processes that train together. Each calls this with equal arguments and draws
            `options.episodes` of its own; they step by the mean gradient. Rank 0 validates and
            writes the checkpoint, which as many ranks can go on from.
        placement: Where steps are computed, and in which precision. The learner is on the CPU again
            at the end.
        background: Draw the next training data in a thread while a step computes. It changes
            nothing in the result.

    Returns:
        The report; validations are rank 0's alone. The learner then holds the best weights (the
        last, without validation).

    Raises:
        CheckpointError: A checkpoint is damaged, or the one to go on from is of another run.
        InvalidOptionError: The trunk of `start` does not fit, or mixed precision the learner.
        DivergedError: The loss stopped being finite; the newest checkpoint is untouched.
        NotEnoughImagesError: A pool cannot supply the episodes.
        NoSuchSplitError: The source has no split to train or validate on.
    """
    placement.check(learner)
    started_with = None if start is None else start_from(learner, start)
    run = _Run(
        learner, source, options, checkpoint, clock, ranks, placement, started_with, background
    )
    with closing(run.draws):
        while (reason := run.stopped_by) is None:
            loss, accuracy = run.step()
            run.after_step()
            if progress is not None:
                progress(run.event(loss, accuracy))
    return run.finish(reason)


class _Run:
    """The moving parts of one run; everything that changes is in its checkpoint."""

    def __init__(
        self,
        learner: Learner,
        source: TaskSource | ValueSource,
        options: TrainOptions,
        path: Path | None,
        clock: Callable[[], float],
        ranks: Ranks,
        placement: Placement,
        started_with: str | None,
        background: bool,
    ) -> None:
        self.learner, self.options, self.path, self.clock = learner, options, path, clock
        self.ranks = ranks
        self.objective = make_objective(learner, source.pool(TRAIN), options)
        self.objective.placement = placement
        for module in (learner, self.objective):  # before the optimizer takes hold of parameters
            module.to(placement.device)
        self.validation_sampler = (
            None
            if options.validation is None
            else EpisodeSampler(source.pool(VALIDATION), options.validation)
        )
        self.parameters = [*learner.parameters(), *self.objective.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=options.outer_lr)
        stream = [options.seed, _STREAM, *([ranks.rank] if ranks.size > 1 else [])]
        rng = np.random.default_rng(stream)
        self.draws = Draws(self.objective.draw, rng, background=background)
        self.steps = 0
        self.best: Validation | None = None
        self.best_weights: dict[str, Tensor] | None = None
        self.validations: list[Validation] = []
        self.losses: list[float] = []
        self.stopped_by: StopReason | None = None
        self.seconds = self.seconds_before = 0.0
        self.identity: dict[str, Any] = {}
        if path is not None:
            self.identity = _identity(learner, source, options, ranks)
            self.identity["start"] = started_with
            if placement.mixed_precision:
                self.identity["mixed_precision"] = True
            exists = ranks.is_first and path.exists()
            saved = ranks.from_first(read_checkpoint(path) if exists else None)
            if saved is not None:
                self._resume(saved)
        for module in (learner, self.objective):
            ranks.copy_from_first(module)
        self.started = clock()
        learner.train()

    @property
    def fraction(self) -> float:
        """Part of the run that is over, 0..1."""
        if self.options.minutes is not None:
            return min(1.0, self.seconds / (60 * self.options.minutes))
        return self.steps / self.options.steps

    def step(self) -> tuple[float, float]:
        """Take one outer step; return its loss and accuracy."""
        o = self.options
        found = self.objective.measure(self.learner, self.draws.take(), self.fraction)
        self.optimizer.zero_grad()
        found.loss.backward()  # type: ignore[no-untyped-call]
        shown, accuracy = self._averaged(found)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, o.gradient_norm)
        if not math.isfinite(shown) or not math.isfinite(norm.item()):
            msg = f"the loss or its gradient is not finite at step {self.steps}; lower outer_lr"
            raise DivergedError(msg)
        for group in self.optimizer.param_groups:
            group["lr"] = o.outer_lr * (1 + math.cos(math.pi * self.fraction)) / 2
        self.optimizer.step()
        self.steps += 1
        self.losses.append(shown)
        self._look_at_clock()
        return shown, accuracy

    def after_step(self) -> None:
        """Validate, stop and write a checkpoint where they are due."""
        o = self.options
        if self.fraction >= 1:
            self.stopped_by = "steps" if o.minutes is None else "minutes"
        if self.stopped_by is not None or self.steps % o.validate_every == 0:
            if self.ranks.is_first:
                self._validate()
            self.stopped_by = self.ranks.from_first(self.stopped_by)
            self._look_at_clock()
        if self.path is not None and (
            self.stopped_by is not None or self.steps % o.checkpoint_every == 0
        ):
            saved = self._checkpoint()
            if self.ranks.is_first:
                write_checkpoint(self.path, saved)

    def event(self, loss: float, accuracy: float) -> TrainEvent:
        fraction = 1.0 if self.stopped_by is not None else self.fraction
        return TrainEvent(
            step=self.steps,
            fraction=fraction,
            loss=loss,
            accuracy=accuracy,
            seconds_left=self.seconds * (1 / fraction - 1) if fraction > 0 else math.inf,
            validation_accuracy=self.validations[-1].accuracy if self.validations else None,
        )

    def finish(self, reason: StopReason) -> TrainReport:
        """Load the best weights and report."""
        if self.best_weights is not None:
            self.learner.load_state_dict(self.best_weights)
        self.ranks.copy_from_first(self.learner)
        self.learner.eval().cpu()
        return TrainReport(
            steps=self.steps,
            seconds=self.seconds,
            stopped_by=reason,
            best=self.best,
            validations=tuple(self.validations),
            losses=tuple(self.losses),
        )

    def _averaged(self, found: OuterLoss) -> tuple[float, float]:
        """Average the gradients and all else that ranks differ in; the loss and accuracy."""
        told = torch.tensor([found.shown, found.accuracy], dtype=torch.float64)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.ranks.average([told, *gradients, *running_statistics(self.learner)])
        shown, accuracy = told.tolist()
        return shown, accuracy

    def _look_at_clock(self) -> None:
        """One clock for all ranks, as their steps' sizes and number may depend on it."""
        self.seconds = self.ranks.from_first(self.seconds_before + self.clock() - self.started)

    def _validate(self) -> None:
        if self.validation_sampler is None:
            return
        o = self.options
        found = validate(
            self.learner, self.validation_sampler, batches=o.validation_batches, seed=o.seed
        )
        self.validations.append(Validation(step=self.steps, accuracy=found[0], loss=found[1]))
        if self._note_best(self.validations[-1]):
            self.best_weights = _copy_weights(self.learner)
        elif (
            o.patience is not None
            and self.best is not None
            and len(self.validations) - self.validations.index(self.best) > o.patience
            and self.stopped_by is None
        ):
            self.stopped_by = "patience"

    def _note_best(self, found: Validation) -> bool:
        """Keep `found` if it is better; of equal accuracies the later one, trained for longer."""
        if self.best is not None and found.accuracy < self.best.accuracy:
            return False
        self.best = found
        return True

    def _checkpoint(self) -> Checkpoint:
        streams = self.ranks.gathered(self.draws.state)
        return Checkpoint(
            run=self.identity,
            step=self.steps,
            seconds=self.seconds,
            weights=_copy_weights(self.learner),
            objective=_copy_weights(self.objective),
            best_weights=self.best_weights,
            optimizer=self.optimizer.state_dict(),
            rng=json.loads(json.dumps(streams[0] if len(streams) == 1 else {"ranks": streams})),
            validations=[(v.step, v.accuracy, v.loss) for v in self.validations],
            losses=self.losses,
            finished=self.stopped_by,
        )

    def _resume(self, saved: Checkpoint) -> None:
        other = sorted(
            name
            for name in self.identity.keys() | saved.run.keys()
            if self.identity.get(name) != saved.run.get(name)
        )
        if other:
            msg = (
                f"{self.path} belongs to another run: {', '.join(other)} differ; "
                "remove it, or use the options that it was made with"
            )
            raise CheckpointError(msg)
        try:
            self.learner.load_state_dict(saved.weights)
            self.objective.load_state_dict(saved.objective)
            self.optimizer.load_state_dict(saved.optimizer)
            alone = self.ranks.size == 1
            self.draws.go_on_from(saved.rng if alone else saved.rng["ranks"][self.ranks.rank])
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            msg = f"{self.path} does not fit the run that it names"
            raise CheckpointError(msg) from error
        self.steps, self.seconds, self.seconds_before = saved.step, saved.seconds, saved.seconds
        self.best_weights, self.losses = saved.best_weights, list(saved.losses)
        for step, accuracy, loss in saved.validations:
            self.validations.append(Validation(step=step, accuracy=accuracy, loss=loss))
            self._note_best(self.validations[-1])
        self.stopped_by = _stop_reason(saved.finished)


def _identity(
    learner: Learner, source: TaskSource | ValueSource, options: TrainOptions, ranks: Ranks
) -> dict[str, Any]:
    """What makes two runs the same run, as JSON values."""
    described: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return {
        **described,
        **describe_learner(learner),
        "tasks": source.name,
        "tasks_digest": source.digest(),
        **({} if ranks.size == 1 else {"ranks": ranks.size}),
    }


def _copy_weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach().to("cpu", copy=True) for name, tensor in module.state_dict().items()
    }


def _stop_reason(name: str | None) -> StopReason | None:
    for reason in ("steps", "minutes", "patience"):
        if name == reason:
            return reason
    return None
