"""CPU time of a simulator for each client and round, without client compute, beside its peers.

    python benchmarks/fleet/overhead.py [--pfl PYTHON] [--flower PYTHON] [--out FILE]

Each PYTHON is one that has the peer: `pip install pfl==0.6.0`, `pip install
"flwr[simulation]==1.41.0"`. A figure is the CPU time of a long run minus that of a short one, over
the updates in between, so that imports and set-up are no part of it; Flower's many processes are
counted from its second round on. The simulators take turns, and the figure is the median of the
turns, with the least and the most beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from figures import add_figures
from work import CLIENTS, DIM

HERE = Path(__file__).parent
FLOWER = "peer_flower.py"
SHORT, LONG = 2, 8
FLOWER_ROUNDS = 3  # the first of which is not counted
TARGET_MS = 0.14
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def measure(python: str, script: str, mode: str, rounds: int) -> dict[str, Any]:
    """One run in a process of its own, on one thread."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(  # noqa: S603
            [python, HERE / script, mode, str(CLIENTS), str(rounds)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **SETTINGS, "FLWR_HOME": home, "FLEET_RUN": home},
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def figure(python: str, script: str, mode: str) -> float:
    """Milliseconds of CPU for each update."""
    if script == FLOWER:
        found = measure(python, script, mode, FLOWER_ROUNDS)
        return 1e3 * float(found["cpu_s"]) / float(found["updates"])
    short, long = (measure(python, script, mode, rounds) for rounds in (SHORT, LONG))
    return 1e3 * (long["cpu_s"] - short["cpu_s"]) / (long["updates"] - short["updates"])


def main() -> None:
    """Take turns; write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pfl", help="Python with pfl 0.6.0")
    parser.add_argument("--flower", help="Python with flwr[simulation] 1.41.0")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    contestants = {
        f"ours, {mode}": (sys.executable, "peer_edge.py", mode)
        for mode in ("plain", "clip", "private")
    }
    if chosen.pfl:
        contestants |= {
            f"pfl 0.6.0, {mode}": (chosen.pfl, "peer_pfl.py", mode) for mode in ("plain", "private")
        }
    if chosen.flower:
        contestants["flower 1.41.0, plain"] = (chosen.flower, FLOWER, "plain")
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(chosen.turns):
        for name, (python, script, mode) in contestants.items():
            found[name].append(figure(python, script, mode))
    report = {
        "clients_per_round": CLIENTS,
        "update_bytes": 4 * DIM,
        "cpu_ms_per_update": {
            name: {
                "median": round(statistics.median(values), 4),
                "least": round(min(values), 4),
                "most": round(max(values), 4),
            }
            for name, values in found.items()
        },
        "turns": chosen.turns,
        "target_ms": TARGET_MS,
        "passed": statistics.median(found["ours, private"]) <= TARGET_MS,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "load_average": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
    }
    text = json.dumps(report, indent=1, sort_keys=True)
    sys.stdout.write(text + "\n")
    if chosen.out:
        add_figures(chosen.out, "overhead", found=report)


if __name__ == "__main__":
    main()
