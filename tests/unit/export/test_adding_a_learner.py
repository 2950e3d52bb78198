"""docs/ADDING_A_LEARNER.md: its example is a learner that keeps the contract and learns."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from export.calibration import fit_calibration
from export.evaluate import EvaluateOptions, evaluate
from export.gates import GateOptions, check_parity
from export.learners.base import Learner, LearnerOptions
from export.learners.registry import LEARNERS, make_learner
from export.recipes import recipe
from export.tasks.sampler import EpisodeOptions
from export.train import train
from export.train_options import TrainOptions
from tests.arch.import_graph import ROOT
from tests.support.exported import export
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def example(tmp_path: Path) -> Iterator[type[Learner]]:
    """The page's Python, put together into one module as a reader would."""
    text = (ROOT / "docs" / "ADDING_A_LEARNER.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    path = tmp_path / "gaussian.py"
    path.write_text("\n".join([blocks[0], blocks[1]]))
    spec = importlib.util.spec_from_file_location("gaussian", path)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield LEARNERS["gaussian"]
    del LEARNERS["gaussian"]


def test_the_example_is_a_learner(example: type[Learner], tmp_path: Path) -> None:
    source = BlockTasks(classes=30, images_per_class=12)
    options = LearnerOptions(hidden=8, ways=8, settings={"prior_strength": 2})
    learner = make_learner("gaussian", options, seed=0)
    assert isinstance(learner, example)
    assert recipe("gaussian", "omniglot").train.steps == 5000
    run = TrainOptions(steps=30, outer_lr=5e-3, episodes=EpisodeOptions(ways=5, queries=5, draws=4))
    report = train(learner, source, run)
    assert np.mean(report.losses[-5:]) < 0.8 * np.mean(report.losses[:5])
    fit_calibration(learner, source.pool("validation"))
    pair = export(learner, tmp_path)
    assert check_parity(learner, pair.engine, GateOptions(seeds=(0,))).update_error < 1e-4
    asked = EvaluateOptions(ways=5, shots=3, queries=5, episodes=30)
    found = evaluate(pair.engine, source.pool("test"), asked)
    assert found.accuracy.low > 0.5
    order = torch.tensor([2, 0, 1])
    features, labels, weights = torch.rand(3, learner.dim), torch.tensor([0, 1, 1]), torch.ones(3)  # type: ignore[arg-type]
    one, _ = learner.adapt(learner.init(8), features, labels, weights)
    other, _ = learner.adapt(learner.init(8), features[order], labels[order], weights)
    torch.testing.assert_close(one, other)
