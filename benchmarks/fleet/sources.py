"""What rounds are worth on every kind of people that a fleet can be made of.

    EDGE_SDK_DATA=... python benchmarks/fleet/sources.py BUNDLE --out FILE

BUNDLE: one that names no labels and was trained on none of the data below, such as
`bundles/glyphs-prototypical`. People who are measured took part in no round; a gain is paired by
person, its interval is Student's t at 95 %. Omniglot's drawers drew each character once, so that
they teach nothing.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from figures import add_figures
from learning import PLAIN, SEED, UNMOVED, Writing, interval, level

from edge_sdk import open_bundle
from federated.fleet.options import PopulationOptions
from federated.population import PopulationOptions as Persons
from federated.population import open_population

SOURCES = {
    "unipen": PopulationOptions(source="unipen", max_classes=26, held_out=60),
    "unipen, dirichlet 0.1": PopulationOptions(
        source="unipen", max_classes=26, held_out=60, partition="dirichlet", alpha=0.1
    ),
    "unipen, dirichlet 1": PopulationOptions(
        source="unipen", max_classes=26, held_out=60, partition="dirichlet", alpha=1.0
    ),
    "hapt": PopulationOptions(source="hapt", max_classes=6, held_out=9),
    "omniglot": PopulationOptions(source="omniglot", max_classes=26, held_out=8, shots=0),
}


def study(path: Path, people: PopulationOptions, data: Path, folder: Path) -> dict[str, Any]:
    """Rounds over one source, and what they are worth to those who are held out."""
    persons = Persons(writers=0, held_out=people.held_out, seed=SEED)
    population = open_population(people.source, persons, max_classes=people.max_classes, data=data)
    writing = Writing(path, population, folder, "bundle")
    config = replace(PLAIN, population=people)
    start = writing.run(replace(config, round=UNMOVED))
    found = writing.run(config)
    return {
        "held_out": len(found.after),
        "classes": len(population.labels),
        "data_digest": population.digest,
        "start bundle": {"before": level(start.before), "taught": level(start.after)},
        "federated bundle": {"before": level(found.before), "taught": level(found.after)},
        "gain before teaching": interval(found.before - start.before),
        "gain when taught": interval(found.after - start.after),
    }


def main() -> None:
    """Run each source; write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    data = Path(os.environ["EDGE_SDK_DATA"])
    studies: dict[str, Any] = {"bundle_digest": open_bundle(chosen.bundle).digest}
    for name, people in SOURCES.items():
        with tempfile.TemporaryDirectory() as folder:
            studies[name] = study(chosen.bundle, people, data, Path(folder))
    add_figures(chosen.out, "sources", found=studies)


if __name__ == "__main__":
    main()
