"""What rounds are worth to UNIPEN's writers: new people, attacks, noise.

    EDGE_SDK_DATA=... python benchmarks/fleet/learning.py BUNDLE --out FILE

BUNDLE: a prototypical bundle that names no labels and was trained on no drawing of UNIPEN; that of
the committed figures is `bundles/glyphs-prototypical`.

Everything is measured on writers who took part in no round and are on no device. A difference is
paired by writer; its interval is Student's t at 95 %.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import add_figures

from edge_sdk import Engine, open_bundle
from export.intervals import mean_interval
from federated.fleet.config import FleetConfig
from federated.fleet.devices import Devices
from federated.fleet.options import (
    AttackOptions,
    FleetRoundOptions,
    PopulationOptions,
)
from federated.fleet.run import people_of, round_options, run_fleet
from federated.fleet.users import FleetData
from federated.population import PopulationOptions as Writers
from federated.population import open_population
from federated.privacy.accounting import noise_multiplier_for
from federated.privacy.options import PrivacyOptions
from federated.privacy.private_run import PrivacySetup, PrivateRun, new_run_id
from federated.scores import score
from federated.study import labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from federated.fleet.run import FleetResult
    from federated.population import Population
    from federated.privacy.report import PrivacyReport

    Measure = Callable[[FleetConfig], tuple[NDArray[np.float64], NDArray[np.float64]]]
    Defences = Mapping[str, FleetRoundOptions]

SEED = 0
CLASSES = 26  # digits, and A to P
HELD_OUT = 60
PEOPLE = PopulationOptions(devices=1000, examples=20, held_out=HELD_OUT)
ROUNDS = FleetRoundOptions(rounds=15, replies=60, clipping_norm=30.0)
PLAIN = FleetConfig(population=PEOPLE, round=ROUNDS, evaluate_every=0, threads=1)
UNMOVED = replace(ROUNDS, rounds=1, server_lr=1e-9)
"""Rounds that leave the bundle where it starts."""
SHARES = (0.01, 0.05, 0.2)
KINDS = ("boosted", "sign-flip")
UNDEFENDED = replace(ROUNDS, clipping_norm=1e9)
DEFENCES = {
    "none": UNDEFENDED,
    "clip": replace(ROUNDS, clipping_norm=10.0),
    "clip and trimmed mean": replace(
        ROUNDS, clipping_norm=10.0, aggregator="trimmed_mean", trim_share=0.3
    ),
    "clip and median": replace(ROUNDS, clipping_norm=10.0, aggregator="median"),
}
LIMIT_POINTS = 1.0
PRIVATE_DEVICES = 10_000
PRIVATE_COHORT = 500
EPSILON, DELTA = 7.9, 1e-5


def interval(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean and 95 % interval, in points."""
    found = mean_interval(100 * values)
    return {
        "mean": round(found.mean, 2),
        "low": round(found.low, 2),
        "high": round(found.high, 2),
    }


def level(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean accuracy, and that of the worst-off tenth, in percent."""
    found = score(values)
    return {
        "mean": round(100 * found.mean, 2),
        "worst_decile": round(100 * found.worst_decile, 2),
    }


def open_writers() -> Population:
    """UNIPEN's writers, some of whom take part in no round."""
    people = Writers(writers=0, held_out=HELD_OUT, seed=SEED)
    data = Path(os.environ["EDGE_SDK_DATA"])
    return open_population("unipen", people, max_classes=CLASSES, data=data)


class Writing:
    """A bundle whose labels are UNIPEN's, and writers who take part and who do not."""

    def __init__(self, path: Path, population: Population, folder: Path, name: str) -> None:
        bundle = labelled(open_bundle(path), population.labels, folder / name, prior_count=1.0)
        self.engine = Engine(bundle)
        self.people = people_of(self.engine, population.taking_part)
        self.held_out = people_of(self.engine, population.held_out)

    def data(self, options: PopulationOptions, seed: int = SEED) -> FleetData:
        """Deal the writers out."""
        return FleetData(self.people, self.held_out, options, seed)

    def run(self, config: FleetConfig) -> FleetResult:
        """Run rounds."""
        return run_fleet(self.engine, self.data(config.population, config.seed), config)


def new_people(writing: Writing) -> dict[str, Any]:
    """Do rounds help people who took part in none, and what does teaching add?"""
    start = writing.run(replace(PLAIN, round=UNMOVED))
    found = writing.run(PLAIN)
    return {
        "writers": len(found.after),
        "start bundle": {"before": level(start.before), "taught": level(start.after)},
        "federated bundle": {"before": level(found.before), "taught": level(found.after)},
        "gain before teaching": interval(found.before - start.before),
        "gain when taught": interval(found.after - start.after),
        "personalization over fedavg without": interval(found.after - found.before),
    }


def private_run(
    writing: Writing, config: FleetConfig, folder: Path
) -> tuple[FleetResult, PrivacyReport]:
    """Rounds with central noise for `EPSILON` at `DELTA` in all, whose unit is a device.

    Args:
        writing: The bundle and its people.
        config: `round.replies` is the mean size of a cohort, drawn from all `population.devices`.
        folder: Where the ledger is kept.
    """
    rules, people = config.round, config.population
    multiplier = noise_multiplier_for(
        "pld",
        EPSILON,
        DELTA,
        sampling_rate=rules.replies / people.devices,
        rounds=rules.rounds,
        sampling="poisson",
    )
    data = writing.data(people, config.seed)
    ids = Devices(config, data.counts).ids
    setup = PrivacySetup(
        options=PrivacyOptions(noise_multiplier=multiplier, epsilon=8.0, delta=DELTA),
        ledger=folder / f"ledger-{config.seed}",
        noise_seed=config.seed,
    )
    rounds = round_options(config, rules.replies)
    with PrivateRun(setup, rounds, ids, run_id=new_run_id()) as run:
        return run_fleet(writing.engine, data, config, privacy=run.rounds()), run.report()


def population_of(people: PopulationOptions) -> str:
    """Who takes part, for readers of the figures."""
    return (
        f"{people.devices} simulated devices, each with {people.examples} drawings of one of the "
        "writers who take part; the unit is a device"
    )


def private(writing: Writing, folder: Path) -> dict[str, Any]:
    """The same with differential privacy, in a population that is simulated."""
    people = replace(PEOPLE, devices=PRIVATE_DEVICES)
    rules = replace(ROUNDS, replies=PRIVATE_COHORT, clipping_norm=15.0)
    start = writing.run(replace(PLAIN, round=UNMOVED))
    found, report = private_run(writing, replace(PLAIN, population=people, round=rules), folder)
    return {
        "population": population_of(people),
        "privacy": asdict(report),
        "cohort": PRIVATE_COHORT,
        "rounds": rules.rounds,
        "federated bundle": {"before": level(found.before), "taught": level(found.after)},
        "gain before teaching": interval(found.before - start.before),
        "personal part over the federated start": interval(found.after - found.before),
        "gain when taught": interval(found.after - start.after),
    }


def attack_rows(measure: Measure, config: FleetConfig, defences: Defences) -> list[dict[str, Any]]:
    """Accuracy lost to each attack by each share of devices, with each defence.

    Args:
        measure: Accuracy of each writer before and after teaching, of what a config runs.
        config: The fleet; its rounds are those of the defence.
        defences: Rounds by name.
    """
    rows = []
    for defence, rules in defences.items():
        defended = replace(config, round=rules)
        honest = measure(defended)
        for kind in KINDS:
            for share in SHARES:
                attack = AttackOptions(kind=kind, share=share)
                attacked = measure(replace(defended, attack=attack))
                rows.append(
                    {
                        "defence": defence,
                        "attack": kind,
                        "share": share,
                        "honest": level(honest[0]),
                        "attacked": level(attacked[0]),
                        "lost": interval(honest[0] - attacked[0]),
                        "lost when taught": interval(honest[1] - attacked[1]),
                    }
                )
    return rows


def attacks(writing: Writing) -> list[dict[str, Any]]:
    """The attacks on prototypes, with all defences and without."""

    def measure(config: FleetConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        found = writing.run(config)
        return found.before, found.after

    return attack_rows(measure, PLAIN, DEFENCES)


def main() -> None:
    """Run all studies; write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    population = open_writers()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        writing = Writing(chosen.bundle, population, folder, "prototypes")
        studies: dict[str, Any] = {
            "data_digest": population.digest,
            "bundle_digest": open_bundle(chosen.bundle).digest,
            "new people": new_people(writing),
            "private": private(writing, folder),
        }
        studies["attacks"] = attacks(writing)
        studies["largest loss"] = {
            defence: max(
                row["lost"]["mean"] for row in studies["attacks"] if row["defence"] == defence
            )
            for defence in DEFENCES
        }
    add_figures(chosen.out, "learning", found=studies)


if __name__ == "__main__":
    main()
