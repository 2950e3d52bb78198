"""The query loss after adaptation: what MAML, ProtoNets and most meta-learners minimise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from export.compiled import EpisodesInParts
from export.episode_loss import embedded, episode_loss, mapped_logits_by_step
from export.learners.many_tasks import ManyTasks
from export.objectives.base import EpisodeObjective, Episodes, OuterLoss

if TYPE_CHECKING:
    from torch import Tensor

    from export.learners.base import Learner
    from export.tasks.base import ImagePool
    from export.tasks.functions import FunctionPool
    from export.train_options import TrainOptions


class QueryLoss(EpisodeObjective):
    """Mean cross-entropy on the query sets, differentiated through adaptation.

    With `TrainOptions.deep_supervision` the loss after every inner step counts at first, equally;
    the weight moves to the last step in the course of that part of the run (the multi-step loss of
    Antoniou, Edwards, Storkey, "How to train your MAML", ICLR 2019).
    """

    name = "query_loss"

    def __init__(self, pool: ImagePool | FunctionPool, options: TrainOptions) -> None:
        super().__init__(pool, options)
        self.in_parts = EpisodesInParts("compiled" if options.compile else "plain")

    def measure(self, learner: Learner, drawn: Episodes, fraction: float) -> OuterLoss:
        """See `Objective`."""
        batch, images = drawn
        until = self.options.deep_supervision
        values = learner.options.task == "regression"
        last_step = values or learner.steps == 1 or fraction >= until
        if self.options.compile or (last_step and isinstance(learner, ManyTasks)):
            support, labels, query = embedded(learner, batch, images, placement=self.placement)
            truth = torch.from_numpy(batch.query_y).to(query.device)
            exact = self.in_parts(learner, batch.ways, support, labels, query, truth)
            return OuterLoss(loss=exact.surrogate, shown=exact.loss, accuracy=exact.accuracy)
        if last_step:
            loss, accuracy = episode_loss(learner, batch, images, placement=self.placement)
            return OuterLoss(loss=loss, shown=loss.item(), accuracy=accuracy.item())
        episodes = embedded(learner, batch, images, placement=self.placement)
        logits = mapped_logits_by_step(learner, batch.ways, *episodes)
        labels = torch.from_numpy(batch.query_y).to(logits[0].device)
        losses = torch.stack(
            [functional.cross_entropy(step.flatten(0, 1), labels.flatten()) for step in logits]
        )
        with torch.no_grad():
            accuracy = (logits[-1].argmax(-1) == labels).to(losses.dtype).mean()
        loss = losses @ step_weights(learner.steps, fraction / until).to(losses)
        return OuterLoss(loss=loss, shown=losses[-1].item(), accuracy=accuracy.item())


def step_weights(steps: int, fraction: float) -> Tensor:
    """Weights of the losses after each inner step, `[steps]`; they sum to 1.

    Args:
        steps: Inner steps.
        fraction: 0: all equal; 1: the last alone.
    """
    weights = torch.full((steps,), (1 - fraction) / steps)
    weights[-1] += fraction
    return weights
