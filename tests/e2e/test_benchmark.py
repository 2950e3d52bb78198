"""The device benchmark runs, computes what its reference does, and names missing peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.arch.import_graph import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("torch")


def test_the_head_benchmark_runs(tmp_path: Path) -> None:
    out = tmp_path / "device.json"
    command = [
        sys.executable, ROOT / "benchmarks/device/run.py", "--venvs", tmp_path / "none",
        "--out", out, "--tasks", "A", "--repeats", "1", "--seconds", "0.01",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    report = json.loads(out.read_text())
    task = report["tasks"]["A"]
    assert set(task["peers"]) == {"edge", "torch"}
    for peer in ("ort-training", "litert", "mnn", "executorch"):
        assert "not installed" in task["missing"][peer]
    assert task["wrong"] == []
    for figures in task["peers"].values():
        assert figures["loss_gap"] < 1e-4
        assert figures["cpu_ms"] > 0
    # it is near 0.01: the kernel runs, not the graph
    assert task["our_cpu_ms_over"]["torch"] < 0.5
    assert task["our_cpu_ms_over_best"] == task["our_cpu_ms_over"]["torch"]
    assert report["predict"]["A"]["over_run_25"] > 0
    assert 0 < report["core"]["stripped_mb"] <= report["core"]["installed_mb"] < 5
    assert "edge-sdk" in report["versions"]["edge"]
