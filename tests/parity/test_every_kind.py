"""Exported learners that read examples in order, or learn values, agree with float64 PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from export.gates import check_parity
from export.learners.adaptation import adapt_all
from export.learners.base import Learner, LearnerOptions
from tests.support.exported import Exported, export
from tests.support.kinds import LinearValues, Recency

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (1, 6, 6)


def exported(cls: type[Learner], folder: Path, **options: object) -> Exported:
    torch.manual_seed(1)
    made = LearnerOptions(input_shape=SHAPE, hidden=8, ways=6, steps=3, **options)  # type: ignore[arg-type]
    return export(cls(made), folder)


def test_a_sequential_learner(tmp_path: Path) -> None:
    pair = exported(Recency, tmp_path)
    manifest = pair.engine.bundle.manifest
    assert (manifest.adaptation, manifest.steps) == ("sequential", 1)
    report = check_parity(pair.learner, pair.engine)
    assert report.update_error < 2e-5
    assert 0 < report.several_error < 5e-4

    x = np.random.default_rng(0).random((4, *SHAPE), dtype=np.float32)
    labels = np.array([0, 1, 0, 1])
    features = pair.engine.embed(x)
    weights = np.array([1, 1, 0, 1], np.float32)
    got = pair.engine.adapt(features, labels, weights)
    _, losses = adapt_all(
        pair.learner,
        pair.learner.init(6),
        torch.from_numpy(features),
        torch.from_numpy(labels),
        torch.from_numpy(weights),
    )
    want = losses.detach().numpy()
    assert want[2] == 0
    np.testing.assert_allclose(got.losses, want[weights > 0], rtol=1e-4)


def test_skipping_an_example_has_no_gradient_of_its_own(tmp_path: Path) -> None:
    learner = exported(Recency, tmp_path).learner.double()
    x = torch.rand(3, *SHAPE, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    state, losses = adapt_all(
        learner, learner.init(6), learner.embed(x), torch.tensor([0, 1, 1]), weights
    )
    (state["prototypes"].sum() + losses.sum()).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad[1] == 0).all()
    assert (x.grad[0] != 0).any()


def test_a_regression_with_a_variance(tmp_path: Path) -> None:
    pair = exported(LinearValues, tmp_path, task="regression", outputs=2)
    manifest = pair.engine.bundle.manifest
    assert (manifest.task, manifest.outputs, manifest.ways) == ("regression", 2, 1)
    assert manifest.variance
    report = check_parity(pair.learner, pair.engine)
    assert 0 < report.update_error < 2e-5
    assert 0 < report.logit_error < 1e-4
