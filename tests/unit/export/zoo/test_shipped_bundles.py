"""What the shipped bundles' cards claim holds here, on this machine's processor too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edge_sdk import Engine, pretrained, pretrained_names
from edge_sdk.zoo import copy_pretrained
from export.benchmark.config import read_cell
from export.evaluate import EvaluateOptions, evaluate
from export.gates import GateOptions, check_kernel
from export.tasks.registry import open_any
from tests.support.pictures import SHAPES, drawings
from tests.support.tiny import rewrite

DATA = os.environ.get("EDGE_SDK_DATA")
EPISODES = 20


@pytest.mark.parametrize("name", pretrained_names())
def test_it_is_as_good_as_its_card_says(name: str) -> None:
    """On the first of the very episodes that the card's figure is over."""
    engine = Engine(pretrained(name))
    provenance: Any = engine.bundle.manifest.provenance
    claimed = provenance["evaluation"][0]
    if claimed["tasks"].startswith("omniglot") and DATA is None:
        pytest.skip("needs EDGE_SDK_DATA with omniglot")
    source = open_any(claimed["tasks"], data=None if DATA is None else Path(DATA))
    cell = read_cell(claimed["cell"], name)
    options = EvaluateOptions(
        ways=cell.ways,
        shots=cell.shots,
        queries=claimed["queries"],
        episodes=EPISODES,
        protocol=claimed["protocol"],
        seed=claimed["seed"],
    )
    found = evaluate(engine, source.pool(claimed["split"]), options).accuracy
    # by chance 20 of the 600 episodes differ by more than this once in ten million times
    spread = claimed["half_width"] / 1.96 * np.sqrt(claimed["episodes"] / EPISODES)
    assert found.mean > claimed["accuracy"] - max(0.01, 5 * spread)


@pytest.mark.parametrize("name", pretrained_names())
def test_its_kernel_computes_what_its_graph_does(name: str, tmp_path: Path) -> None:
    """In each step: several at a large learned rate multiply the rounding of those before."""
    bundle = pretrained(name)
    if bundle.manifest.kernel is None:
        pytest.skip("it has none")
    folder = copy_pretrained(name, tmp_path / "graph")
    graph = Engine(rewrite(folder, tmp_path / "without", kernel=None))
    assert 0 < check_kernel(Engine(bundle), graph) <= GateOptions().kernel_limit


@pytest.mark.parametrize("name", pretrained_names())
def test_its_int8_features_are_exact_on_this_processor(name: str, rng: np.random.Generator) -> None:
    """Within one quantum of the graph computed in float, as it stands; saturated ones are not."""
    bundle = pretrained(name)
    if "embed.onnx" not in bundle.files:
        assert bundle.manifest.quantization["embed"] == "none"
        return
    drawn = [drawings(shape, 20, rng) for shape in SHAPES]
    x = np.concatenate([*drawn, rng.random((20, 1, 28, 28), np.float32)])
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        bundle.files["embed.onnx"], options, providers=["CPUExecutionProvider"]
    )
    (exact,) = session.run(None, {"x": x})
    error = np.linalg.norm(Engine(bundle).embed(x) - exact, axis=1).max()
    assert error < 0.02 * np.linalg.norm(exact, axis=1).mean()
