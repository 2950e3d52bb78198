"""The fleet benchmark's own contestant, small; and the committed figures against their targets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    text = (ROOT / "benchmarks" / "results" / "fleet.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


@pytest.mark.parametrize("mode", ["plain", "private"])
def test_our_contestant_runs(mode: str) -> None:
    script = ROOT / "benchmarks" / "fleet" / "peer_edge.py"
    done = subprocess.run(
        [sys.executable, script, mode, "40", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cpu_s"] > 0
    assert found["asked"] == 80
    assert found["updates"] == 80 if mode == "plain" else 40 < found["updates"] < 80


def test_the_whole_scale_run_was_made_within_its_limits(figures: dict[str, Any]) -> None:
    scale = figures["scale"]
    assert (scale["devices"], scale["rounds_run"]) == (10_000, 100)
    assert scale["wall_minutes_of_100_rounds"] <= scale["limits"]["minutes"]
    assert scale["peak_mb"] <= scale["limits"]["mb"]


def test_all_three_simulators_were_measured_in_one_run(figures: dict[str, Any]) -> None:
    overhead = figures["overhead"]
    peers = {name.partition(" ")[0].strip(",") for name in overhead["cpu_ms_per_update"]}
    assert peers == {"ours", "pfl", "flower"}
    assert overhead["cpu_ms_per_update"]["ours, private"]["median"] <= overhead["target_ms"]


def test_each_attack_was_measured_defended_and_not(figures: dict[str, Any]) -> None:
    rows = figures["learning"]["attacks"]
    measured = {(row["defence"], row["attack"], row["share"]) for row in rows}
    wanted = {
        (defence, attack, share)
        for defence in ("none", "clip")
        for attack in ("boosted", "sign-flip")
        for share in (0.01, 0.05, 0.2)
    }
    assert wanted <= measured
    assert all(row["lost"]["mean"] <= 1 for row in rows if row["defence"] == "clip")


def test_every_personalized_algorithm_beats_the_shared_model_alone(
    figures: dict[str, Any],
) -> None:
    for bundle in figures["algorithms"]["bundles"].values():
        assert bundle["personal part over the federated start"]["low"] > 0
        for name, found in bundle["algorithms"].items():
            gain = found["over fedavg without personalization"]
            assert gain["low"] > 0 or name == "fedavg-global"


def test_a_personal_part_adds_to_the_start_from_private_rounds(figures: dict[str, Any]) -> None:
    parts = figures["private personal parts"]
    assert "anil" in parts
    for found in (*parts.values(), figures["learning"]["private"]):
        assert found["privacy"]["epsilon"] <= 8
        assert found["privacy"]["delta"] == 1e-5
        assert found["gain before teaching"]["low"] > 0
        assert found["personal part over the federated start"]["low"] > 0
