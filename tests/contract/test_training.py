"""Every learner in the one trainer: its objective reaches all that it should train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from export.learners.base import LearnerOptions
from export.learners.registry import LEARNERS, make_learner
from export.tasks.sampler import EpisodeOptions
from export.train import train
from export.train_options import TrainOptions
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from export.learners.base import Learner

# at one shot what depends on the number of shots has no gradient
RUN = TrainOptions(
    steps=3, outer_lr=3e-3, episodes=EpisodeOptions(ways=4, shots=2, queries=2, draws=2)
)


def trained_by_the_objective(learner: Learner) -> list[str]:
    """Names of the parameters that have a gradient at the start."""
    parameters = dict(learner.named_parameters())
    if learner.objective != "pretrain":
        return list(parameters)
    # supervised training reaches what classifies; adapters stay as they are
    out = learner.represent(torch.rand(4, *learner.options.input_shape)).sum()
    grads = torch.autograd.grad(out, list(parameters.values()), allow_unused=True)
    pairs = zip(parameters, grads, strict=True)
    return [name for name, grad in pairs if grad is not None and grad.any()]


@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_the_gradient_reaches_every_parameter(name: str) -> None:
    learner = make_learner(name, LearnerOptions(hidden=8, ways=6, steps=2), seed=1)
    names = trained_by_the_objective(learner)
    assert names
    before = {key: tensor.clone() for key, tensor in learner.state_dict().items()}
    train(learner, BlockTasks(classes=8, images_per_class=6), RUN)
    after = learner.state_dict()
    assert [key for key in names if torch.equal(after[key], before[key])] == []
