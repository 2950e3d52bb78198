"""What a personal head, or adapters and a head, add to a bundle of private rounds.

    EDGE_SDK_DATA=... python benchmarks/fleet/personal.py BUNDLE [--seeds 0 1 2] --out FILE

BUNDLE: a gradient bundle that names no labels and was trained on no drawing of UNIPEN; its figures
are added to those of others in FILE. Devices are always there when they are asked, and a tenth gets
lost on the way.

Each seed deals the drawings out anew and draws cohorts, drop-outs and noise anew; the writers who
are measured took part in no round of any. Differences are paired by writer, over the mean of the
seeds; intervals are Student's t at 95 % over writers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from figures import add_figures
from learning import (
    CLASSES,
    PEOPLE,
    PLAIN,
    PRIVATE_COHORT,
    PRIVATE_DEVICES,
    UNMOVED,
    Writing,
    interval,
    level,
    open_writers,
    population_of,
    private_run,
)

from edge_sdk import open_bundle
from federated.fleet.options import AvailabilityOptions, FleetRoundOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOTS = 2
CONFIG = replace(
    PLAIN,
    population=replace(PEOPLE, devices=PRIVATE_DEVICES, shots=SHOTS),
    round=FleetRoundOptions(rounds=15, replies=PRIVATE_COHORT, clipping_norm=20.0),
    availability=AvailabilityOptions(require_charging=False, require_wifi=False),
)
FEW = replace(CONFIG.population, devices=UNMOVED.replies)  # who takes part changes no start


def study(writing: Writing, seeds: Sequence[int], folder: Path) -> dict[str, Any]:
    """All seeds: what the bundle gave before any round, and what it gives after private ones."""
    starts, runs, reports = [], [], []
    for seed in seeds:
        config = replace(CONFIG, seed=seed)
        starts.append(writing.run(replace(config, population=FEW, round=UNMOVED)))
        found, report = private_run(writing, config, folder)
        runs.append(found)
        reports.append(asdict(report))
    first, taught_first = (np.mean([getattr(r, k) for r in starts], 0) for k in ("before", "after"))
    before, after = (np.array([getattr(r, k) for r in runs]) for k in ("before", "after"))
    return {
        "privacy": reports[0],
        "parameters": sum(value.size for value in runs[0].shared.values()),
        "start bundle": {"before": level(first), "taught": level(taught_first)},
        "federated bundle": {
            "before": level(before.mean(axis=0)),
            "taught": level(after.mean(axis=0)),
        },
        "gain before teaching": interval(before.mean(axis=0) - first),
        "personal part over the federated start": interval((after - before).mean(axis=0)),
        "by seed": [round(100 * float(gain.mean()), 2) for gain in after - before],
        "gain when taught": interval(after.mean(axis=0) - taught_first),
    }


def main() -> None:
    """Run the study on a bundle; add the figures to those of others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    population = open_writers()
    bundle = open_bundle(chosen.bundle)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as made:
        writing = Writing(chosen.bundle, population, Path(made), bundle.digest)
        found = {
            "bundle_digest": bundle.digest,
            "trained_on": sorted(bundle.manifest.provenance["tasks"]),
            "data_digest": population.digest,
            "population": population_of(CONFIG.population),
            "classes": CLASSES,
            "shots": SHOTS,
            "rounds": CONFIG.round.rounds,
            "cohort": CONFIG.round.replies,
            "clipping_norm": CONFIG.round.clipping_norm,
            "seeds": chosen.seeds,
            **study(writing, chosen.seeds, Path(made)),
            "cpu_minutes": round((time.process_time() - began) / 60, 1),
        }
    add_figures(chosen.out, "private personal parts", bundle.manifest.learner, found=found)


if __name__ == "__main__":
    main()
