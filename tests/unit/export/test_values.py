"""Regression from training to bundle: the whole server side on sinusoids, in seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from edge_sdk import Engine
from edge_sdk.errors import InvalidOptionError
from export.episode_loss import value_loss
from export.evaluate import EvaluateOptions, evaluate
from export.learners.base import LearnerOptions
from export.pipeline import ExportOptions, export_bundle
from export.tasks.sampler import EpisodeOptions
from export.tasks.sinusoids import SinusoidTasks
from export.train import train
from export.train_options import TrainOptions
from tests.support.kinds import LinearValues
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from pathlib import Path

RUN = TrainOptions(
    steps=150,
    outer_lr=0.01,
    episodes=EpisodeOptions(shots=10, queries=10, draws=16),
    validation=EpisodeOptions(shots=10, queries=20, draws=16),
    validation_batches=2,
    validate_every=75,
)


def learner() -> LinearValues:
    torch.manual_seed(0)
    return LinearValues(LearnerOptions(input_shape=(1,), hidden=32, steps=10, task="regression"))


def test_a_regression_is_trained_exported_and_evaluated(tmp_path: Path) -> None:
    source, model = SinusoidTasks(), learner()
    report = train(model, source, RUN)
    assert report.best is not None
    assert sum(report.losses[-20:]) < 0.8 * sum(report.losses[:20])
    options = ExportOptions(
        name="waves", target="x86", accuracy=EvaluateOptions(episodes=40), max_drop=0.1
    )
    bundle = export_bundle(model, source, tmp_path / "waves", options)
    engine = Engine(bundle.path)
    assert engine.bundle.manifest.input.description == "one number, -5 to 5"
    asked = EvaluateOptions(shots=10, queries=20, episodes=60)
    taught = evaluate(engine, source.pool("test"), asked)
    untaught = evaluate(engine, source.pool("test"), replace(asked, control="unadapted"))
    gain = taught.accuracies - untaught.accuracies
    assert gain.mean() > 0.1
    assert taught.nll is not None
    assert taught.calibration_error is None
    with pytest.raises(InvalidOptionError, match="does regression, these tasks are classification"):
        evaluate(engine, BlockTasks().pool("test"), asked)


def test_what_is_for_labels_alone_is_refused_for_values(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidOptionError, match="leave compile out for values"):
        train(learner(), SinusoidTasks(), replace(RUN, compile=True))
    monkeypatch.setattr(LinearValues, "objective", "pretrain")
    with pytest.raises(InvalidOptionError, match="trained on labels"):
        train(learner(), SinusoidTasks(), RUN)


def test_the_loss_is_the_likelihood_of_normal_predictions() -> None:
    mean, values = torch.tensor([[0.5], [2.0]]), torch.tensor([[0.0], [3.0]])
    variance = torch.tensor([[0.25], [4.0]])
    loss, score = value_loss(mean, variance, values)
    normal = torch.distributions.Normal(mean, variance.sqrt())
    torch.testing.assert_close(loss, -normal.log_prob(values).mean())
    torch.testing.assert_close(score, torch.tensor(1 - 1.25 / 9))
    torch.testing.assert_close(value_loss(mean, None, values)[0], torch.tensor(0.625))
