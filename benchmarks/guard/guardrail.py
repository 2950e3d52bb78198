"""Does the guardrail keep good models and refuse bad ones? Writers of UNIPEN, 26 letters.

    EDGE_SDK_DATA=... python -m benchmarks.guard.guardrail BUNDLE --out guardrail.json

BUNDLE: any prototypical bundle of 28x28 images that names no labels and has 26 slots or more.

A model's true difference from the base is measured on the writer's own examples that were not
taught, with true labels, and averaged over `--splits` random splits of one writer in one scenario;
models are then counted by that average: -30 is -35..-25 points, -10 is -12.5..-7.5, +10 is
7.5..12.5. Intervals (95 %) are bootstrapped over writers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.guard.simulation import (
    Outcome,
    random_labels,
    swapped_labels,
    teach_in_stages,
    teach_once,
    teach_own_labels,
)
from benchmarks.guard.writers import Crowd, find_archive, read_crowd, write_labelled
from edge_sdk import Bundle, Engine, open_bundle
from edge_sdk.guardrail import Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BINS = {"-30": (-0.35, -0.25), "-10": (-0.125, -0.075), "+10": (0.075, 0.125)}
POISON = (0.0, 0.1, 0.3, 0.5)
PRIORS = (0.25, 2.0, 10.0)
SPOILS = (0.0, 0.3)
SHARES = (1 / 3, 2 / 3)
STAGES = 5
BOOTSTRAPS = 1000
TUNED_ON = 36  # the thresholds were chosen on this many users, so the figures are of the others


@dataclass(frozen=True, slots=True)
class Cell:
    """All outcomes of one user in one scenario."""

    poison: float
    outcomes: tuple[Outcome, ...]

    @property
    def difference(self) -> float:
        """True difference of the personal model from the base."""
        return float(np.mean([o.personal - o.base for o in self.outcomes]))


def by_user(poison: float, outcomes: Sequence[Outcome]) -> list[Cell]:
    """One cell a user."""
    ordered = sorted(outcomes, key=lambda o: o.user)
    return [Cell(poison, tuple(g)) for _, g in itertools.groupby(ordered, lambda o: o.user)]


def with_interval(
    cells: Sequence[Cell], value: Callable[[Outcome], float]
) -> dict[str, float | int]:
    """Mean of a value over all outcomes, and its 95 % interval over users (bootstrap)."""
    users = sorted({cell.outcomes[0].user for cell in cells})
    per_user = [
        [value(o) for c in cells if c.outcomes[0].user == user for o in c.outcomes]
        for user in users
    ]
    if not per_user:
        return {"models": 0, "users": 0}
    sums, sizes = np.array([sum(v) for v in per_user]), np.array([len(v) for v in per_user])
    draws = np.random.default_rng(0).integers(0, len(users), (BOOTSTRAPS, len(users)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "mean": round(float(sums.sum() / sizes.sum()), 5),
        "low": round(float(low), 5),
        "high": round(float(high), 5),
        "models": int(sizes.sum()),
        "users": len(users),
    }


def keep_rates(cells: Sequence[Cell]) -> dict[str, Any]:
    """How often models of each true difference are kept."""
    rates: dict[str, Any] = {}
    for name, (low, high) in BINS.items():
        inside = [cell for cell in cells if low <= cell.difference <= high]
        honest = [cell for cell in inside if cell.poison == 0]
        rates[name] = with_interval(inside, lambda o: o.decision == "keep")
        rates[f"{name}, honest labels"] = with_interval(honest, lambda o: o.decision == "keep")
    return rates


def harm(cells: Sequence[Cell]) -> dict[str, Any]:
    """What users get, minus the base: on average, for the worst user, and without a guardrail."""
    per_user = [float(np.mean([o.served - o.base for o in cell.outcomes])) for cell in cells]
    return {
        "served minus base": with_interval(cells, lambda o: o.served - o.base),
        "worst user, mean of splits": round(min(per_user), 5),
        "users more than 1 point under": sum(value < -0.01 for value in per_user),
        "without guardrail": with_interval(cells, lambda o: o.personal - o.base),
        "kept": with_interval(cells, lambda o: o.decision == "keep"),
        "memorization gap": with_interval(cells, lambda o: o.gap),
    }


def simulate(
    source: Bundle,
    crowd: Crowd,
    folder: Path,
    *,
    first_user: int,
    num_users: int,
    splits: int,
    seed: int,
) -> dict[str, Any]:
    """All scenarios; see the module."""
    users, num_labels = crowd.users[first_user : first_user + num_users], len(crowd.labels)
    cells: list[Cell] = []
    poisoned: dict[str, Any] = {}
    staged: dict[str, Any] = {}
    swapped: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for shots, share in itertools.product((1, 2, 5), (0.0, 0.3, 0.5, 0.8)):
        own[f"5 labels, {shots} shots, {share:g} poisoned"] = harm(
            by_user(
                share,
                teach_own_labels(
                    Engine(source),
                    users,
                    ways=5,
                    shots=shots,
                    poison=share,
                    splits=splits,
                    seed=seed,
                ),
            )
        )
    for spoil, prior in itertools.product(SPOILS, PRIORS):
        base = f"base spoilt by {spoil:g}, prior {prior:g}"
        bundle = write_labelled(
            source, crowd, folder / f"b{spoil:g}-{prior:g}", spoil=spoil, prior_count=prior
        )
        engine = Engine(bundle)
        for share, poison in itertools.product(SHARES, (*POISON, 0.7, 0.9)):
            found = by_user(
                poison,
                teach_once(
                    engine,
                    users,
                    share=share,
                    poison=random_labels(poison, num_labels),
                    splits=splits,
                    seed=seed,
                ),
            )
            cells += found
            poisoned[f"{base}, {share:.2f} taught, {poison:g} poisoned"] = harm(found)
        if spoil == 0:
            for clean, poison in itertools.product((0, 2), POISON):
                staged[f"{base}, {poison:g} poisoned from stage {clean + 1}"] = harm(
                    by_user(
                        poison,
                        teach_in_stages(
                            engine,
                            users,
                            stages=STAGES,
                            poison_from=clean,
                            poison=random_labels(poison, num_labels),
                            splits=max(1, splits // 2),
                            seed=seed,
                        ),
                    )
                )
        if spoil == 0 and prior > 1:
            probe = Probe(crowd.probe.features, crowd.probe.slots)
            for name, probed in (("without probe set", None), ("with probe set", probe)):
                for share in (0.0, 0.1, 0.3, 0.5):
                    swapped[f"prior {prior:g}, {name}, {share:g} of labels exchanged"] = harm(
                        by_user(
                            share,
                            teach_once(
                                engine,
                                users,
                                share=2 / 3,
                                poison=swapped_labels(share, num_labels),
                                splits=max(1, splits // 2),
                                seed=seed,
                                probe=probed,
                            ),
                        )
                    )
    return {
        "keep rate by true difference from the base": keep_rates(cells),
        "what users get, judged once": poisoned,
        f"what users get, judged at each of {STAGES} stages": staged,
        "labels exchanged in fixed pairs": swapped,
        "a bundle without labels, where the base is guessing": own,
    }


def main() -> int:
    """Run, print and write the result; 0, or 2 without data."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--first-user", type=int, default=TUNED_ON)
    parser.add_argument("--users", type=int, default=34)
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    archive = find_archive()
    if archive is None:
        sys.stderr.write("set EDGE_SDK_DATA to a folder that holds unipen/unipen_chars.npz\n")
        return 2
    started = time.perf_counter()
    source = open_bundle(arguments.bundle)
    crowd = read_crowd(archive, Engine(source))
    with tempfile.TemporaryDirectory() as folder:
        result = simulate(
            source,
            crowd,
            Path(folder),
            first_user=arguments.first_user,
            num_users=arguments.users,
            splits=arguments.splits,
            seed=arguments.seed,
        )
    document = {
        "command": f"python -m benchmarks.guard.guardrail BUNDLE "
        f"--first-user {arguments.first_user} --users {arguments.users} "
        f"--splits {arguments.splits} --seed {arguments.seed}",
        "bundle": source.manifest.name,
        "bundle_digest": source.digest,
        "machine": platform.machine(),
        "seconds": round(time.perf_counter() - started),
        **result,
    }
    text = json.dumps(document, indent=1)
    sys.stdout.write(f"{text}\n")
    if arguments.out is not None:
        arguments.out.write_text(f"{text}\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
