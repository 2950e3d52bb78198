"""Accuracy that attackers take from a bundle's head, with the bound on each update and without.

    EDGE_SDK_DATA=... python benchmarks/fleet/attacks.py BUNDLE... --out FILE

BUNDLE: one that names no labels and was trained on no drawing of UNIPEN, such as
`bundles/glyphs-anil`. `learning.py` measures the same of prototypes, with more defences.

Each seed deals the drawings out anew and draws attackers, cohorts and drop-outs anew; the writers
who are measured took part in no round of any. Differences are paired by writer, over the mean of
the seeds; intervals are Student's t at 95 % over writers.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algorithms import SEEDS, over_seeds
from figures import add_figures
from learning import (
    DEFENCES,
    PEOPLE,
    PLAIN,
    Writing,
    attack_rows,
    open_writers,
)

from edge_sdk import open_bundle

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from federated.fleet.config import FleetConfig

CONFIG = replace(PLAIN, population=replace(PEOPLE, shots=2))
MEASURED = ("none", "clip")


def study(writing: Writing) -> list[dict[str, Any]]:
    """Each attack, defended and not."""

    def measure(config: FleetConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        before, after = over_seeds(writing, config)
        return before.mean(axis=0), after.mean(axis=0)

    return attack_rows(measure, CONFIG, {name: DEFENCES[name] for name in MEASURED})


def main() -> None:
    """Run the study on each bundle; write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    population = open_writers()
    studies: dict[str, Any] = {
        "data_digest": population.digest,
        "devices": CONFIG.population.devices,
        "shots": CONFIG.population.shots,
        "rounds": CONFIG.round.rounds,
        "replies": CONFIG.round.replies,
        "seeds": list(SEEDS),
        "bundles": {},
    }
    for path in chosen.bundles:
        bundle = open_bundle(path)
        with tempfile.TemporaryDirectory() as made:
            writing = Writing(path, population, Path(made), bundle.digest)
            rows = study(writing)
        studies["bundles"][bundle.manifest.learner] = {
            "bundle_digest": bundle.digest,
            "attacks": rows,
        }
    add_figures(chosen.out, "attacks on a head", found=studies)


if __name__ == "__main__":
    main()
