"""Gradients flow through decoded weights: QLoRA on the device is float64 torch on those weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from export.errors import GateError
from export.gates import GateOptions, check_parity
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from export.stored_weights import large_weights, rounded
from tests.support.exported import export

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = GateOptions(seeds=(0,))


def test_the_gate_compares_with_the_decoded_weights(tmp_path: Path) -> None:
    options = LearnerOptions(
        hidden=64, ways=6, steps=2, settings={"depth": 1, "heads": 2, "rate": 5.0, "bits": 4}
    )
    learner = make_learner("qlora", options, seed=0)
    pair = export(learner, tmp_path, weights=learner.weight_encoding)
    assert learner.weight_encoding == "nf4"
    files = pair.engine.bundle.files
    numbers = sum(tensor.numel() for tensor in large_weights(learner.top).values())
    assert numbers > 30_000
    # half a byte a number, and the nodes
    assert len(files["predict.onnx"]) < 1.25 * numbers
    assert check_parity(rounded(learner, "nf4"), pair.engine, OPTIONS).several_error < 1e-3
    with pytest.raises(GateError, match=r"adapt\.onnx"):
        check_parity(learner, pair.engine, OPTIONS)
