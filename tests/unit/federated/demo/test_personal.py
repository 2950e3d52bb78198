from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import Engine, open_bundle
from federated.demo.personal import as_inputs, measure_latency, tell_story
from tests.unit.federated.demo.samples import pool

if TYPE_CHECKING:
    from pathlib import Path


def test_the_story_forgets_exactly_and_survives_reopening(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    images = pool()
    rows = {name: images.rows_of(i) for i, name in enumerate(images.class_names)}
    result = tell_story(
        open_bundle(tiny_bundle),
        {name: as_inputs(images.images[r[:5]]) for name, r in rows.items()},
        {name: as_inputs(images.images[r[5:]]) for name, r in rows.items()},
        tmp_path,
        forget="square",
    )
    assert result.forget_exact
    assert result.reopened_same
    assert result.predicted_before > 0
    assert result.predicted_after == 0
    assert result.accuracy > 0.9
    assert (result.shots, result.num_queries) == (5, 21)


def test_latencies_are_positive_and_say_what_they_timed(tiny_bundle: Path) -> None:
    images = pool()
    result = measure_latency(
        Engine(tiny_bundle), as_inputs(images.images), images.classes, repeats=3
    )
    assert min(result.embed_ms, result.adapt_ms, result.predict_ms) > 0
    assert (result.adapt_examples, result.repeats) == (len(images.images), 3)


def test_inputs_are_ink_one_paper_zero() -> None:
    x = as_inputs(np.array([[[0, 255]]], np.uint8))
    assert x.dtype == np.float32
    assert x.shape == (1, 1, 1, 2)
    assert x.ravel().tolist() == [0.0, 1.0]
