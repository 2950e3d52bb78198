"""The C++ runtime adapts as float64 PyTorch does, and as a few lines of numpy do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from export.gates import GateOptions, check_parity, gate_inputs
from tests.support.exported import Exported

Get = Callable[[str], Exported]

# one of each kind at full size; tests/contract passes every learner through the gate, smaller
NAMES = ["anil", "maml", "prototypical"]


@pytest.mark.parametrize("name", NAMES)
def test_one_and_five_steps_agree_with_float64(exported: Get, name: str) -> None:
    pair = exported(name)
    report = check_parity(pair.learner, pair.engine)
    # float32 carries 6e-8; a step through the conv net sums over thousands of terms, five carry on
    assert 0 < report.update_error < 2e-5
    assert report.several_error < 5e-4
    assert report.logit_error < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_every_batch_size_runs(exported: Get, name: str) -> None:
    pair = exported(name)
    for n in (1, 2, 33):
        x = np.random.default_rng(n).random((n, 1, 28, 28), dtype=np.float32)
        labels = np.arange(n) % 6
        features = pair.engine.embed(x)
        with torch.no_grad():
            want = pair.learner.embed(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(features, want, rtol=1e-4, atol=1e-5)
        state = pair.engine.adapt(features, labels).state
        assert pair.engine.predict(features, state).logits.shape == (n, 6)


@pytest.mark.parametrize("name", NAMES)
def test_losses_agree(exported: Get, name: str) -> None:
    pair = exported(name)
    x = dict(gate_inputs((1, 28, 28), GateOptions(), np.random.default_rng(1)))["noise"]
    labels = np.arange(len(x), dtype=np.int64) % 5
    features = pair.engine.embed(x)
    losses = pair.engine.adapt(features, labels).losses
    state = pair.learner.init(6)
    want = []
    for _ in range(pair.learner.steps):
        state, loss = pair.learner.adapt(
            state, torch.from_numpy(features), torch.from_numpy(labels), torch.ones(len(x))
        )
        want.append(loss.item())
    np.testing.assert_allclose(losses, want, rtol=1e-4)


def test_prototypes_are_class_means(exported: Get, rng: np.random.Generator) -> None:
    engine = exported("prototypical").engine
    features = rng.normal(size=(9, *engine.bundle.manifest.features.shape)).astype(np.float32)
    labels = np.array([0, 1, 2] * 3)
    state = engine.adapt(features, labels).state
    for slot in range(3):
        np.testing.assert_allclose(
            state["prototypes"][slot], features[labels == slot].mean(0), rtol=1e-5, atol=1e-6
        )
    # a second support set moves the running mean, as if both had come at once
    more = rng.normal(size=features.shape).astype(np.float32)
    later = engine.adapt(more, labels, start=state).state
    both = engine.adapt(np.concatenate([features, more]), np.concatenate([labels, labels])).state
    np.testing.assert_allclose(later["prototypes"], both["prototypes"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(later["counts"], both["counts"])


def test_the_head_takes_softmax_regression_steps(exported: Get, rng: np.random.Generator) -> None:
    pair = exported("anil")
    features = rng.normal(size=(10, *pair.engine.bundle.manifest.features.shape))
    features = features.astype(np.float32)
    labels = np.arange(10, dtype=np.int64) % 5
    state = pair.engine.adapt(features, labels).state
    weight, bias = np.zeros((6, features.shape[1])), np.zeros(6)
    rate = 5 * np.exp(pair.learner.get_parameter("log_rate").item())
    hot = np.eye(6)[labels]
    for _ in range(5):
        logits = features @ weight.T + bias
        logits[:, 5] = -np.inf
        p = np.exp(logits - logits.max(1, keepdims=True))
        gap = (p / p.sum(1, keepdims=True) - hot) / len(labels)
        weight -= rate * gap.T @ features
        bias -= rate * gap.sum(0)
    np.testing.assert_allclose(state["head.weight"], weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state["head.bias"], bias, rtol=1e-4, atol=1e-6)
