from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, open_bundle
from federated.demo.rounds import FederatedOptions, run_federated
from federated.population import Population
from federated.simulate import embed_images
from tests.unit.federated.demo.samples import CLASSES, pool

if TYPE_CHECKING:
    from pathlib import Path

    from federated.demo.result import FederatedResult

WRITERS, HELD_OUT = 4, 3


def run(bundle: Path, folder: Path, *, images: int = 4, clip_scale: float = 1.0) -> FederatedResult:
    taking_part = pool(users=WRITERS, images=images)
    held_out = pool(users=HELD_OUT, images=images, seed=1)
    population = Population(
        labels=tuple(taking_part.class_names),
        taking_part=taking_part,
        held_out=replace(held_out, users=held_out.users + WRITERS),
        digest="0" * 64,
    )
    features = embed_images(Engine(bundle), pool(seed=2).images)
    options = FederatedOptions(rounds=3, cohort=2, clip_scale=clip_scale)
    return run_federated(open_bundle(bundle), population, features, options, folder)


def test_rounds_teach_the_bundle_what_held_out_writers_write(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    result = run(tiny_bundle, tmp_path)
    assert result.before.mean == pytest.approx(1 / CLASSES)
    assert result.lift.low > 0
    assert result.lift.mean == pytest.approx(result.after.mean - result.before.mean)
    assert len(result.per_round) == 3
    assert result.per_round[-1] == result.after
    assert (result.writers, result.held_out, result.images) == (WRITERS, HELD_OUT, 4)
    assert np.array(result.confusion_after).sum() == HELD_OUT * CLASSES * 4


def test_only_the_starting_state_is_downloaded(tiny_bundle: Path, tmp_path: Path) -> None:
    result = run(tiny_bundle, tmp_path)
    assert result.unchanged
    new = tmp_path / "federated"
    whole = sum(file.stat().st_size for file in new.iterdir())
    kept = sum((new / name).stat().st_size for name in ("adapt.onnx", "embed.onnx", "predict.onnx"))
    assert result.download_bytes == whole - kept
    assert open_bundle(new).digest == result.digest


def test_writers_with_one_image_a_class_are_not_taught(tiny_bundle: Path, tmp_path: Path) -> None:
    assert run(tiny_bundle, tmp_path / "one", images=1).taught is None
    taught = run(tiny_bundle, tmp_path / "four").taught
    assert taught is not None
    assert taught.shots == 1
    assert taught.gain.mean == pytest.approx(taught.new.mean - taught.old.mean)


def test_the_clipping_norm_follows_public_features(tiny_bundle: Path, tmp_path: Path) -> None:
    one, half = (run(tiny_bundle, tmp_path / str(s), clip_scale=s) for s in (1.0, 0.5))
    assert half.clipping_norm == pytest.approx(one.clipping_norm / 2)
