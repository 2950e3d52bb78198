"""The temperature that depends on ways and shots: fitted, exported, and never in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from edge_sdk.errors import InvalidOptionError
from export.calibration import CalibrationOptions, fit_calibration, predict_calibrated
from export.gates import GateOptions, check_parity
from export.learners.adaptation import adapt_all, predict_mean
from export.learners.base import UNUSED_LOGIT, LearnerOptions
from export.learners.prototypical import Prototypical
from export.metrics import calibration_error, score_labels
from export.tasks.base import NotEnoughImagesError
from export.tasks.sampler import EpisodeOptions, EpisodeSampler
from tests.support.exported import export
from tests.support.kinds import LinearValues
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from pathlib import Path

TASKS = BlockTasks(classes=30, images_per_class=16)


def learner(log_scale: float) -> Prototypical:
    torch.manual_seed(0)
    built = Prototypical(LearnerOptions(hidden=8, ways=24)).eval()
    with torch.no_grad():
        built.log_scale.fill_(log_scale)
    return built


def ece(built: Prototypical, ways: int, shots: int, *, calibrated: bool) -> float:
    sampler = EpisodeSampler(TASKS.pool("test"), EpisodeOptions(ways=ways, shots=shots, queries=8))
    rng, scores = np.random.default_rng(5), []
    for _ in range(12):
        batch = sampler.draw(rng)
        with torch.no_grad():
            features = built.embed(torch.from_numpy(batch.images))
            labels = torch.from_numpy(batch.support_y[0])
            state, _ = adapt_all(
                built, built.init(24), features[batch.support[0]], labels, torch.ones(len(labels))
            )
            query = features[batch.query[0]]
            raw = predict_mean(built, state, query)
            logits = predict_calibrated(built, state, query)[0] if calibrated else raw
        assert (logits.argmax(1) == raw.argmax(1)).all()
        assert (logits[:, ways:] == UNUSED_LOGIT).all()
        scores.append(score_labels(logits.numpy(), batch.query_y[0]))
    return calibration_error(scores)


def test_confidence_is_right_at_ways_and_shots_that_it_was_not_fitted_on() -> None:
    built = learner(log_scale=3.0)  # far too sure
    before = {cell: ece(built, *cell, calibrated=False) for cell in ((5, 1), (8, 4), (15, 2))}
    report = fit_calibration(built, TASKS.pool("validation"), CalibrationOptions(episodes=6))
    assert report.after < 0.5 * report.before
    for cell, wrong in before.items():
        right = ece(built, *cell, calibrated=True)
        assert wrong > 0.2
        assert right < 0.06


def test_without_a_fit_nothing_changes() -> None:
    built = learner(log_scale=0.0)
    state = {"prototypes": torch.rand(24, built.dim), "counts": torch.ones(24)}
    features = torch.rand(3, built.dim)
    found, variance = predict_calibrated(built, state, features)
    assert variance is None
    torch.testing.assert_close(found, predict_mean(built, state, features), rtol=0, atol=0)


def test_a_calibrated_learner_is_exported_with_its_temperature(tmp_path: Path) -> None:
    built = learner(log_scale=-1.0)
    with torch.no_grad():
        built.calibration.copy_(torch.tensor([0.5, -0.3, 0.2, 0.1, -0.1]))
    pair = export(built, tmp_path)
    assert check_parity(built, pair.engine, GateOptions(seeds=(0,))).logit_error < 1e-4
    x = np.random.default_rng(0).random((6, 1, 28, 28), dtype=np.float32)
    features, labels = pair.engine.embed(x), np.arange(6) % 3
    state = pair.engine.adapt(features, labels).state
    tensors = {name: torch.from_numpy(np.array(state[name])) for name in state.names}
    raw = predict_mean(built, tensors, torch.from_numpy(features)).detach().numpy()
    k, w = np.log(2), np.log(3)
    scale = np.exp(0.5 - 0.3 * k + 0.2 * w + 0.1 * k * k - 0.1 * k * w)
    got = pair.engine.predict(features, state).logits
    np.testing.assert_allclose(got[:, :3], raw[:, :3] * scale, rtol=1e-4)


def test_it_needs_labels_and_images() -> None:
    values = LinearValues(LearnerOptions(input_shape=(1,), hidden=8, task="regression"))
    with pytest.raises(InvalidOptionError, match="labels"):
        fit_calibration(values, TASKS.pool("validation"))
    built = learner(log_scale=0.0)
    with pytest.raises(NotEnoughImagesError):
        fit_calibration(built, TASKS.pool("validation"), CalibrationOptions(shots=(40,)))
    # what the pool can supply is enough
    fit_calibration(built, TASKS.pool("validation"), CalibrationOptions(shots=(1, 40), episodes=2))
    assert built.calibration.any()
