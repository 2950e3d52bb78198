"""Learner to bundle: gated, quantized, deterministic, and nothing written on failure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import InvalidOptionError, NonFiniteError
from export.errors import GateError
from export.evaluate import EvaluateOptions, evaluate
from export.gates import GateOptions
from export.learners.base import Learner, LearnerOptions
from export.learners.registry import make_learner
from export.pipeline import ExportOptions, export_bundle
from export.tasks.base import NotEnoughImagesError
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from pathlib import Path

ACCURACY = EvaluateOptions(ways=3, shots=2, queries=3, episodes=12)
OPTIONS = ExportOptions(
    name="blocks", accuracy=ACCURACY, calibration_images=40, gate=GateOptions(seeds=(0,))
)


@pytest.fixture(scope="module")
def source() -> BlockTasks:
    return BlockTasks()


@pytest.fixture(scope="module")
def learner() -> Learner:
    return make_learner("prototypical", LearnerOptions(hidden=8, ways=6), seed=0)


@pytest.fixture(scope="module")
def bundle(
    learner: Learner, source: BlockTasks, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("pipeline") / "bundle"
    report = export_bundle(learner, source, out, OPTIONS, provenance={"seed": 0})
    assert report.shipped.count == 12
    assert report.size_bytes == sum(file.stat().st_size for file in out.iterdir())
    return out, report.digest


def test_the_bundle_says_what_it_is(bundle: tuple[Path, str], source: BlockTasks) -> None:
    opened = open_bundle(bundle[0])
    manifest = opened.manifest
    assert opened.digest == bundle[1]
    assert manifest.learner == "prototypical"
    assert manifest.ways == 6
    assert dict(manifest.quantization) == {"embed": "int8", "init": "float32", "target": "arm64"}
    assert manifest.provenance["tasks"] == {"blocks": source.digest()}
    assert manifest.provenance["seed"] == 0
    assert 0 < manifest.quality["parity_update_error"] < 1e-4
    card = opened.files["MODEL_CARD.md"].decode()
    assert "taught up to 6 labels" in card
    assert "blocks" in card


def test_same_learner_same_bundle(
    bundle: tuple[Path, str], learner: Learner, source: BlockTasks, tmp_path: Path
) -> None:
    again = export_bundle(learner, source, tmp_path / "again", OPTIONS, provenance={"seed": 0})
    assert again.digest == bundle[1]


def test_it_recognises_classes_it_never_saw(bundle: tuple[Path, str], source: BlockTasks) -> None:
    found = evaluate(Engine(bundle[0]), source.pool("test"), ACCURACY)
    assert found.accuracy.low > 1 / 3
    assert min(found.embed_ms, found.adapt_ms, found.predict_ms) > 0
    again = evaluate(Engine(bundle[0]), source.pool("test"), ACCURACY)
    np.testing.assert_array_equal(again.accuracies, found.accuracies)


def test_episodes_that_cannot_be_had_are_refused(
    bundle: tuple[Path, str], source: BlockTasks
) -> None:
    engine = Engine(bundle[0])
    with pytest.raises(InvalidOptionError, match="ways must be <= 6"):
        evaluate(engine, source.pool("test"), EvaluateOptions(ways=7, queries=3))
    with pytest.raises(NotEnoughImagesError):
        evaluate(engine, source.pool("test"), EvaluateOptions(ways=5, queries=15))


@pytest.mark.parametrize(
    "broken",
    [
        {"max_drop": -1.0},  # a drop that quantization cannot but exceed
        {"gate": GateOptions(seeds=(0,), update_limit=1e-15)},
        {"gate": GateOptions(seeds=(0,), embed_limit=1e-15)},
    ],
    ids=["accuracy", "parity", "features"],
)
def test_a_failed_gate_writes_nothing(
    broken: dict[str, object], learner: Learner, source: BlockTasks, tmp_path: Path
) -> None:
    options = ExportOptions(
        **{"name": "b", "accuracy": ACCURACY, "calibration_images": 40, **broken}  # type: ignore[arg-type]
    )
    with pytest.raises(GateError, match="nothing was written"):
        export_bundle(learner, source, tmp_path / "bundle", options)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_of_few_slots_is_judged_on_as_many_ways(
    source: BlockTasks, tmp_path: Path
) -> None:
    learner = make_learner("prototypical", LearnerOptions(hidden=8, ways=2), seed=0)
    options = replace(OPTIONS, max_drop=1.0)
    export_bundle(learner, source, tmp_path / "bundle", options)
    assert open_bundle(tmp_path / "bundle").manifest.quality["validation_ways"] == 2


def test_the_bundle_says_how_weights_are_stored(source: BlockTasks, tmp_path: Path) -> None:
    options = LearnerOptions(hidden=8, ways=6, settings={"width": 16})
    learner = make_learner("lstm", options, seed=0)
    fewest = replace(OPTIONS, weight_bits=4, weights="int8", max_drop=1.0)
    report = export_bundle(learner, source, tmp_path / "fewest", fewest)
    quantization = open_bundle(report.path).manifest.quantization
    assert quantization["embed"] == "int4"
    assert quantization["weights"] == "int8"
    assert report.parity.update_error < 1e-4  # against the decoded weights
    own = export_bundle(learner, source, tmp_path / "own", replace(OPTIONS, max_drop=1.0))
    assert open_bundle(own.path).manifest.quantization["weights"] == "float16"
    assert report.size_bytes < own.size_bytes


@pytest.mark.parametrize("broken", [{"weights": "int3"}, {"weight_bits": 5}])
def test_bits_that_do_not_exist_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError, match="must be"):
        ExportOptions(name="b", **broken)  # type: ignore[arg-type]


def test_weights_that_are_not_finite_are_refused(source: BlockTasks, tmp_path: Path) -> None:
    learner = make_learner("prototypical", LearnerOptions(hidden=8, ways=6), seed=0)
    with torch.no_grad():
        next(learner.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteError, match=r"log_scale is not finite"):
        export_bundle(learner, source, tmp_path / "bundle", OPTIONS)
    assert list(tmp_path.iterdir()) == []
