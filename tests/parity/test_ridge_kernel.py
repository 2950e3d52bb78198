"""The ridge kernel computes what `adapt.onnx` and a float64 solve do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import BadBundleError, Engine, Personalizer
from export.errors import GateError
from export.gates import check_kernel, check_parity
from export.learners.base import LearnerOptions
from tests.support.exported import Exported, export
from tests.support.ridge_head import PER_WEIGHT, RIDGE, RidgeHead
from tests.support.tiny import rewrite

if TYPE_CHECKING:
    from pathlib import Path

DIM, WAYS = 19, 6


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    options = LearnerOptions(input_shape=(DIM,), ways=WAYS)
    return export(RidgeHead(options), tmp_path_factory.mktemp("ridge"))


def test_it_agrees_with_its_graph(pair: Exported, tmp_path: Path) -> None:
    check_parity(pair.learner, pair.engine)
    graph = Engine(rewrite(pair.engine.bundle.path, tmp_path / "graph", kernel=None))
    assert 0 < check_kernel(pair.engine, graph) < 1e-6


@pytest.mark.parametrize("n", [1, 5, DIM - 1, DIM, 60])  # below DIM by Woodbury's identity
def test_it_is_the_float64_solution(pair: Exported, rng: np.random.Generator, n: int) -> None:
    x = rng.normal(size=(n, DIM)).astype(np.float32)
    labels = np.arange(n, dtype=np.int64) % 4
    weights = rng.uniform(0, 2, n).astype(np.float32)
    state = pair.engine.adapt(x, labels, weights).state
    u = x / np.sqrt((x.astype(np.float64) ** 2).sum(1, keepdims=True) + 1e-6)
    hot = np.eye(WAYS)[labels]
    s = weights[:, None].astype(np.float64)
    ridge = RIDGE + PER_WEIGHT * s.sum()
    want = np.linalg.solve((u * s).T @ u + ridge * np.eye(DIM), (u * s).T @ hot).T
    np.testing.assert_allclose(state["w"], want, atol=1e-7)
    np.testing.assert_allclose(state["gram"], (u * s).T @ u, atol=1e-6)
    np.testing.assert_allclose(state["counts"], (hot * s).sum(0), rtol=1e-6)


@pytest.mark.parametrize("changes", [{"ridge": 2.01}, {"unit_rows": False}, {"scale": 2.0}])
def test_one_that_computes_something_else_is_caught(
    pair: Exported, tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = pair.engine.bundle.path
    kernel = pair.engine.bundle.manifest.kernel
    assert kernel is not None
    wrong = Engine(rewrite(path, tmp_path / "wrong", kernel=replace(kernel, **changes)))
    graph = Engine(rewrite(path, tmp_path / "graph", kernel=None))
    with pytest.raises(GateError, match=r"the kernel: .*; nothing was written"):
        check_kernel(wrong, graph)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ridge": 0.0}, r"kernel\.ridge must be > 0"),
        ({"ridge_per_weight": -0.1}, r"kernel\.ridge_per_weight must be >= 0"),
        ({"scale": 1e7}, r"kernel\.scale must be > 0 and at most"),
        ({"unit_rows": 1}, r"kernel\.unit_rows must be true or false"),
        ({"gram": "moments"}, "kernel must name different tensors"),
        ({"gram": "counts"}, "kernel must name different tensors, and not counts"),
        ({"gram": "v"}, r"kernel needs a state of exactly w \[6, 19\], v \[19, 19\]"),
    ],
)
def test_a_bad_one_is_refused(
    pair: Exported, tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    kernel = pair.engine.bundle.manifest.kernel
    assert kernel is not None
    with pytest.raises(BadBundleError, match=text):
        rewrite(pair.engine.bundle.path, tmp_path / "bad", kernel=replace(kernel, **changes))


def test_forgetting_is_exact(pair: Exported, rng: np.random.Generator, tmp_path: Path) -> None:
    anna, ben = (rng.normal(size=(4, DIM)).astype(np.float32) for _ in range(2))
    states = []
    for home, taught in (("both", {"anna": anna, "ben": ben}), ("one", {"anna": anna})):
        with Personalizer(pair.engine.bundle, home=tmp_path / home) as personal:
            for label, x in taught.items():
                personal.teach(label, x)
            personal.adapt()
            if home == "both":
                personal.forget("ben")
                personal.adapt()
            states.append(personal.state.to_bytes())
    assert states[0] == states[1]
