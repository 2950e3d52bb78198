"""Personalization-aware algorithms beside FedAvg without personalization, on UNIPEN's writers.

    EDGE_SDK_DATA=... python benchmarks/fleet/algorithms.py BUNDLE... --out FILE

BUNDLE: a gradient bundle that names no labels and was trained on no drawing of UNIPEN. With shared
tensors (adapters), all algorithms run; of one without (a head alone), those that share the head.

Each seed deals the drawings out anew and draws cohorts and drop-outs anew; the writers who are
measured took part in no round of any. Differences are paired by writer, over the mean of the seeds;
intervals are Student's t at 95 % over writers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from figures import add_figures
from learning import CLASSES, PEOPLE, PLAIN, Writing, interval, level, open_writers

from edge_sdk import open_bundle
from federated.fleet.options import AlgorithmOptions, FleetRoundOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.fleet.config import FleetConfig

SEEDS = (0, 1, 2)
BASELINE = "fedavg-global"
ALGORITHMS = {
    BASELINE: AlgorithmOptions(name=BASELINE),
    "fedavg": AlgorithmOptions(name="fedavg"),
    "fedbuff": AlgorithmOptions(name="fedavg", asynchronous=True),
    "ditto": AlgorithmOptions(name="ditto"),
    "fedper": AlgorithmOptions(name="fedper"),
    "fedrep": AlgorithmOptions(name="fedrep"),
}
NEED_SHARED = ("fedper", "fedrep")
ROUNDS = FleetRoundOptions(rounds=20, replies=40, clipping_norm=10.0)
CONFIG = replace(PLAIN, population=replace(PEOPLE, devices=400, shots=2), round=ROUNDS)


def over_seeds(writing: Writing, config: FleetConfig) -> tuple[NDArray[np.float64], ...]:
    """Accuracy of each writer before and after teaching, `[seeds, writers]` each."""
    runs = [writing.run(replace(config, seed=seed)) for seed in SEEDS]
    return np.array([run.before for run in runs]), np.array([run.after for run in runs])


def study(writing: Writing) -> dict[str, Any]:
    """All algorithms that fit the bundle."""
    has_shared = any(spec.role == "shared" for spec in writing.engine.bundle.manifest.state)
    names = [name for name in ALGORITHMS if has_shared or name not in NEED_SHARED]
    found = {
        name: over_seeds(writing, replace(CONFIG, algorithm=ALGORITHMS[name])) for name in names
    }
    start, adapted = found["fedavg"]
    baseline = found[BASELINE][1]
    return {
        "federated start": level(start.mean(axis=0)),
        "personal part over the federated start": interval((adapted - start).mean(axis=0)),
        "algorithms": {
            name: {
                "taught": level(after.mean(axis=0)),
                "over fedavg without personalization": interval((after - baseline).mean(axis=0)),
                "by seed": [round(100 * float(gain.mean()), 2) for gain in after - baseline],
            }
            for name, (_, after) in found.items()
        },
    }


def main() -> None:
    """Run the study on each bundle; write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    population = open_writers()
    studies: dict[str, Any] = {
        "classes": CLASSES,
        "shots": CONFIG.population.shots,
        "devices": CONFIG.population.devices,
        "rounds": ROUNDS.rounds,
        "replies": ROUNDS.replies,
        "clipping_norm": ROUNDS.clipping_norm,
        "seeds": list(SEEDS),
        "data_digest": population.digest,
        "bundles": {},
    }
    with tempfile.TemporaryDirectory() as made:
        for path in chosen.bundles:
            bundle = open_bundle(path)
            began = time.process_time()
            writing = Writing(path, population, Path(made), bundle.digest)
            studies["bundles"][bundle.manifest.learner] = {
                "bundle_digest": bundle.digest,
                "trained_on": sorted(bundle.manifest.provenance["tasks"]),
                **study(writing),
                "cpu_minutes": round((time.process_time() - began) / 60, 1),
            }
    add_figures(chosen.out, "algorithms", found=studies)


if __name__ == "__main__":
    main()
