"""Training somewhere else than on the CPU, and in mixed precision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from edge_sdk.errors import InvalidOptionError
from export.checkpoint import CheckpointError, read_checkpoint
from export.episode_loss import embedded, mapped_predictions
from export.learners.base import LearnerOptions
from export.learners.registry import LEARNERS, make_learner
from export.placement import ON_CPU, Placement
from export.tasks.sampler import EpisodeOptions, EpisodeSampler
from export.train import train
from export.train_options import TrainOptions
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from pathlib import Path

    from export.learners.base import Learner

EPISODES = EpisodeOptions(ways=3, shots=1, queries=2, draws=2)
OPTIONS = TrainOptions(steps=3, episodes=EPISODES, checkpoint_every=1)
MIXED = replace(ON_CPU, mixed_precision=True)


def learner_of(name: str) -> Learner:
    return make_learner(name, LearnerOptions(hidden=8, ways=4, steps=2), seed=1)


@pytest.mark.parametrize("name", sorted(LEARNERS))
def test_every_learner_computes_where_its_weights_are(name: str) -> None:
    """Tensors of the device "meta" have no values, and do not mix with those of the CPU."""
    learner = learner_of(name).to("meta")
    batch = EpisodeSampler(BlockTasks().pool("train"), EPISODES).draw(np.random.default_rng(0))
    logits, _ = mapped_predictions(learner, batch.ways, *embedded(learner, batch))
    assert logits.is_meta
    assert logits.shape == (2, 3 * 2, 3)
    if logits.requires_grad:
        logits.sum().backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in learner.parameters() if p.grad is not None]
        assert grads
        assert all(grad.is_meta for grad in grads)


@pytest.mark.parametrize("name", ["tpu", "mps", "cuda:99", "0.5"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InvalidOptionError, match=r"device must be|is not there"):
        Placement.named(name)


def test_the_local_rank_chooses_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Placement.named("cuda").device == torch.device("cuda", 1)
    assert Placement.named("cuda:0").device == torch.device("cuda", 0)
    with pytest.raises(InvalidOptionError, match="sees 2 GPUs"):
        Placement.named("cuda:2")


@pytest.mark.parametrize("name", ["prototypical", "linear_probe"])
def test_mixed_precision_takes_nearly_the_same_steps(name: str) -> None:
    exact, mixed = learner_of(name), learner_of(name)
    want = train(exact, BlockTasks(), OPTIONS).losses
    found = train(mixed, BlockTasks(), OPTIONS, placement=MIXED).losses
    assert found != want  # bfloat16 was used
    assert found == pytest.approx(want, rel=0.03)
    assert {p.dtype for p in mixed.parameters()} == {torch.float32}
    assert not mixed.training


def test_a_run_in_mixed_precision_is_another_run(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    train(learner_of("prototypical"), BlockTasks(), OPTIONS, placement=MIXED, checkpoint=path)
    assert read_checkpoint(path).run["mixed_precision"] is True
    with pytest.raises(CheckpointError, match="mixed_precision differ"):
        train(learner_of("prototypical"), BlockTasks(), OPTIONS, checkpoint=path)


def test_learners_that_adapt_whole_networks_refuse_mixed_precision() -> None:
    learner = learner_of("maml")
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    with pytest.raises(InvalidOptionError, match="leave mixed precision out"):
        train(learner, BlockTasks(), OPTIONS, placement=MIXED)
    for name, tensor in learner.state_dict().items():
        assert torch.equal(tensor, before[name])
