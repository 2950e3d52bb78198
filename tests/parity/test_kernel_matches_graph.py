"""A native kernel computes what `adapt.onnx` does; a bundle whose kernel does not is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Engine, Personalizer
from export.errors import GateError
from export.gates import GateOptions, check_kernel, check_parity
from export.learners.base import LearnerOptions
from tests.support.exported import Exported, export
from tests.support.momentum import MomentumHead
from tests.support.tiny import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Get = Callable[[str], Exported]


def with_kernel(engine: Engine, folder: Path, **changes: Any) -> Engine:
    """The same bundle with the kernel's fields changed."""
    kernel = engine.bundle.manifest.kernel
    assert kernel is not None
    changed = replace(kernel, **changes)
    return Engine(rewrite(engine.bundle.path, folder / "changed", kernel=changed))


def without_kernel(engine: Engine, folder: Path) -> Engine:
    return Engine(rewrite(engine.bundle.path, folder / "graph", kernel=None))


def test_the_kernel_agrees_with_the_graph(exported: Get, tmp_path: Path) -> None:
    engine = exported("anil").engine
    assert 0 < check_kernel(engine, without_kernel(engine, tmp_path)) < 1e-6


@pytest.mark.parametrize("ways", [1, 3, 6])
@pytest.mark.parametrize("n", [1, 8, 25, 130])
def test_every_size_agrees(
    exported: Get, tmp_path: Path, rng: np.random.Generator, n: int, ways: int
) -> None:
    engine = exported("anil").engine
    graph = without_kernel(engine, tmp_path)
    dim = engine.bundle.manifest.features.shape[0]
    features = rng.normal(size=(n, dim)).astype(np.float32) / np.float32(np.sqrt(dim))
    labels = np.arange(n, dtype=np.int64) % ways
    for weights in (None, rng.uniform(0, 2, n).astype(np.float32)):
        want, got = (e.adapt(features, labels, weights) for e in (graph, engine))
        np.testing.assert_allclose(got.losses, want.losses, atol=1e-6)
        for name in want.state.names:
            np.testing.assert_allclose(got.state[name], want.state[name], rtol=1e-6, atol=1e-6)


def test_adapting_in_the_background_gives_the_same_bits(exported: Get, tmp_path: Path) -> None:
    engine = exported("anil").engine
    shape = engine.bundle.manifest.input.shape
    found = []
    for background in (False, True):
        rng = np.random.default_rng(5)
        with Personalizer(engine.bundle, home=tmp_path / str(background)) as personal:
            for label in ("anna", "ben", "cleo"):
                personal.teach(label, rng.random((4, *shape), np.float32))
            report = personal.adapt(background=True).result(30) if background else personal.adapt()
            found.append((personal.state.to_bytes(), report.losses.tobytes()))
    assert found[0] == found[1]
    assert found[0][0] != engine.initial_state().to_bytes()


def test_steps_compose_to_the_bit(exported: Get, rng: np.random.Generator) -> None:
    engine = exported("anil").engine
    features = rng.normal(size=(9, *engine.bundle.manifest.features.shape)).astype(np.float32)
    labels = np.arange(9, dtype=np.int64) % 4
    whole = engine.adapt(features, labels, steps=5)
    half = engine.adapt(features, labels, steps=2)
    assert engine.adapt(features, labels, steps=3, start=half.state).state == whole.state


def test_momentum_lives_in_the_state(tmp_path: Path) -> None:
    options = LearnerOptions(input_shape=(11,), ways=6, steps=5)
    pair = export(MomentumHead(options), tmp_path)
    check_parity(pair.learner, pair.engine)
    assert 0 < check_kernel(pair.engine, without_kernel(pair.engine, tmp_path)) < 1e-6


@pytest.mark.parametrize("changes", [{"rate": 1.0001}, {"rate_per_slot": False}])
def test_a_kernel_that_computes_something_else_is_caught(
    exported: Get, tmp_path: Path, changes: dict[str, Any]
) -> None:
    engine = exported("anil").engine
    wrong, graph = with_kernel(engine, tmp_path, **changes), without_kernel(engine, tmp_path)
    with pytest.raises(GateError, match=r"the kernel: .*; nothing was written"):
        check_kernel(wrong, graph)


def test_the_kernel_gate_has_a_limit(exported: Get, tmp_path: Path) -> None:
    engine = exported("anil").engine
    with pytest.raises(GateError, match="allowed 1e-12"):
        check_kernel(engine, without_kernel(engine, tmp_path), GateOptions(kernel_limit=1e-12))
