"""How long 10,000 devices take for each round of real adaptation on UNIPEN's drawings.

    EDGE_SDK_DATA=... python benchmarks/fleet/scale.py BUNDLE [--rounds 100] [--out FILE]

BUNDLE names no labels; every one of the 10,000 devices is asked in every round, and churn takes its
part of them. With fewer than 100 rounds the figures of 100 are extrapolated.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import add_figures

from edge_sdk import Engine, open_bundle
from federated.fleet.config import FleetConfig
from federated.fleet.options import AvailabilityOptions, FleetRoundOptions, PopulationOptions
from federated.fleet.run import people_of, run_fleet
from federated.fleet.users import FleetData
from federated.population import PopulationOptions as Writers
from federated.population import open_population
from federated.study import labelled

if TYPE_CHECKING:
    from federated.fleet.driver import VisitReport
    from federated.round_core import RoundReport
    from federated.scores import Score

DEVICES, ROUNDS = 10_000, 100
LIMIT_MINUTES, LIMIT_MB = 15.0, 2048


def main() -> None:
    """Run; write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    writers = Writers(writers=0, held_out=20)
    opened = open_bundle(chosen.bundle)
    population = open_population(
        "unipen", writers, max_classes=26, data=Path(os.environ["EDGE_SDK_DATA"])
    )
    options = PopulationOptions(devices=chosen.devices, examples=20, held_out=20)
    config = FleetConfig(
        population=options,
        round=FleetRoundOptions(
            rounds=chosen.rounds, replies=chosen.devices, over_selection=1.0, clipping_norm=20.0
        ),
        availability=AvailabilityOptions(require_charging=False, require_wifi=False),
        evaluate_every=0,
        threads=chosen.threads,
    )
    loads: list[float] = []

    def on_round(_: RoundReport, __: VisitReport, ___: dict[str, Score]) -> None:
        loads.append(os.getloadavg()[0])

    with tempfile.TemporaryDirectory() as folder:
        bundle = labelled(opened, population.labels, Path(folder) / "start", prior_count=1.0)
        engine = Engine(bundle)
        data = FleetData(
            people_of(engine, population.taking_part),
            people_of(engine, population.held_out),
            options,
            0,
        )
        began, began_cpu = time.perf_counter(), time.process_time()
        found = run_fleet(engine, data, config, on_round=on_round)
        wall_s = (time.perf_counter() - began) / chosen.rounds
        cpu_s = (time.process_time() - began_cpu) / chosen.rounds
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    adaptations = sum(report.num_accepted for report in found.reports)
    report: dict[str, Any] = {
        "bundle": chosen.bundle.name,
        "devices": chosen.devices,
        "rounds_run": chosen.rounds,
        "learner": bundle.manifest.learner,
        "inner_steps": bundle.manifest.steps,
        "adaptations": adaptations,
        "cpu_s_per_round": round(cpu_s, 3),
        "wall_s_per_round": round(wall_s, 3),
        "cpu_ms_per_adaptation": round(1e3 * cpu_s * chosen.rounds / adaptations, 4),
        "cpu_minutes_of_100_rounds": round(cpu_s * ROUNDS / 60, 2),
        "wall_minutes_of_100_rounds": round(wall_s * ROUNDS / 60, 2),
        "extrapolated": chosen.rounds < ROUNDS,
        "peak_mb": round(peak_mb),
        "threads": chosen.threads,
        "cores": os.cpu_count(),
        "load_average": round(statistics.mean(loads), 1),
        "held_out_accuracy": {
            "before_teaching": round(float(found.before.mean()), 4),
            "after_teaching": round(float(found.after.mean()), 4),
        },
        "passed": wall_s * ROUNDS / 60 <= LIMIT_MINUTES and peak_mb <= LIMIT_MB,
        "limits": {"minutes": LIMIT_MINUTES, "mb": LIMIT_MB},
    }
    text = json.dumps(report, indent=1, sort_keys=True)
    sys.stdout.write(text + "\n")
    if chosen.out:
        add_figures(chosen.out, "scale", found=report)


if __name__ == "__main__":
    main()
