"""How often do the drift detectors cry wolf, and how late do they notice?

    EDGE_SDK_DATA=... python -m benchmarks.guard.drift --bundle BUNDLE --out drift.json

BUNDLE is that of `benchmarks.guard.guardrail`. Without it and data the shift of features is
measured on normal numbers alone. False alarms are counted on one long stream at each error rate,
and on short ones, because a detector is least sure of itself when it starts; `high` is the upper
end of a rate's 95 % interval (exact, Poisson).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.guard.provenance import environment, provenance
from benchmarks.guard.writers import find_archive, read_crowd
from edge_sdk import Engine, open_bundle
from edge_sdk.drift import DriftMonitor, FeatureReference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Sampler = Callable[[np.random.Generator, int], NDArray[np.float32]]

ERROR_RATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
HISTORIES = (100, 200, 500, 2000)
SHORT = 500
TARGETS = {"false alarms per 1000": 0.05, "median delay, error 10 -> 30 %": 150}
LONGEST_DELAY = 1000
CHUNK = 100


def monitor(rng: np.random.Generator) -> DriftMonitor:
    """A monitor with the default options."""
    return DriftMonitor(rng=rng)


def false_alarms(error_rate: float, num_events: int, rng: np.random.Generator) -> int:
    """Alarms on feedback whose error rate never changes."""
    watching = monitor(rng)
    wrong = rng.random(num_events) < error_rate
    return sum(watching.feedback(not error) is not None for error in wrong.tolist())


def delays(
    before: float, after: float, history: int, repeats: int, rng: np.random.Generator
) -> list[int | None]:
    """Events from a rise of the error rate to the first alarm; None where there was none.

    Streams with an alarm before the rise are drawn again: those are counted by `false_alarms`.
    """
    found: list[int | None] = []
    while len(found) < repeats:
        watching = monitor(rng)
        past = (rng.random(history) < before).tolist()
        if any(watching.feedback(not error) is not None for error in past):
            continue
        new = (rng.random(LONGEST_DELAY) < after).tolist()
        alarms = (i for i, error in enumerate(new, 1) if watching.feedback(not error) is not None)
        found.append(next(alarms, None))
    return found


def per_thousand(alarms: int, num_events: int) -> dict[str, float | int]:
    """A rate of false alarms, and the upper end of its exact 95 % interval (Garwood 1936)."""
    low, high = float(alarms), alarms + 10 * math.sqrt(alarms + 1) + 10
    for _ in range(60):
        mean = (low + high) / 2
        logs = (i * math.log(mean) - mean - math.lgamma(i + 1) for i in range(alarms + 1))
        low, high = (mean, high) if sum(map(math.exp, logs)) > 0.025 else (low, mean)
    return {
        "per 1000": round(1000 * alarms / num_events, 5),
        "high": round(1000 * high / num_events, 5),
        "alarms": alarms,
        "events": num_events,
    }


def summary(found: list[int | None]) -> dict[str, float | int]:
    """Median and 90th percentile; a missed change counts as the longest delay."""
    events = np.array([LONGEST_DELAY if d is None else d for d in found])
    return {
        "median_delay": float(np.median(events)),
        "p90_delay": float(np.percentile(events, 90)),
        "missed": sum(d is None for d in found),
        "streams": len(found),
    }


def shift_false_alarms(
    reference: FeatureReference, draw: Sampler, num_events: int, rng: np.random.Generator
) -> int:
    """Alarms on features that keep coming from one source."""
    watching = monitor(rng)
    return sum(
        watching.watch(draw(rng, CHUNK), reference) is not None for _ in range(num_events // CHUNK)
    )


def shift_delays(
    reference: FeatureReference,
    draw: Sampler,
    shifted: Sampler,
    repeats: int,
    rng: np.random.Generator,
) -> list[int | None]:
    """Examples from a shift, after 200 usual ones, to the alarm."""
    found: list[int | None] = []
    while len(found) < repeats:
        watching = monitor(rng)
        if any(watching.watch(draw(rng, CHUNK), reference) is not None for _ in range(2)):
            continue
        found.append(_first_alarm(watching, reference, shifted(rng, LONGEST_DELAY)))
    return found


def _first_alarm(
    watching: DriftMonitor, reference: FeatureReference, features: NDArray[np.float32]
) -> int | None:
    for number, row in enumerate(features, 1):
        if watching.watch(row[None], reference) is not None:
            return number
    return None


def normal_sources(dim: int = 64) -> tuple[FeatureReference, Sampler, dict[str, Sampler]]:
    """Five classes of normal numbers, 25 of them taught; shifts of every dimension."""
    rng = np.random.default_rng(1)
    centres = 2 * rng.normal(size=(5, dim))

    def draw(rng: np.random.Generator, num: int, by: float = 0.0) -> NDArray[np.float32]:
        noise = rng.normal(size=(num, dim))
        rows = centres[rng.integers(5, size=num)] + noise + by
        return rows.astype(np.float32)

    slots = np.arange(25, dtype=np.int64) % 5
    taught = (centres[slots] + rng.normal(size=(25, dim))).astype(np.float32)
    shifts = {f"normal, shifted by {by:g} deviations": _shifted(draw, by) for by in (0.25, 0.5, 1)}
    return FeatureReference.of(taught, slots), draw, shifts


def _shifted(
    draw: Callable[[np.random.Generator, int, float], NDArray[np.float32]], by: float
) -> Sampler:
    return lambda rng, num: draw(rng, num, by)


def writer_sources(
    archive: Path, bundle: Path, num_users: int
) -> Iterator[tuple[FeatureReference, Sampler, dict[str, Sampler]]]:
    """UNIPEN's writers: 50 letters taught, the others drawn at random; then another writer's."""
    engine = Engine(open_bundle(bundle))
    users = read_crowd(archive, engine).users[: num_users + 1]
    for user, other in itertools.pairwise(users):
        order = np.random.default_rng(0).permutation(len(user.slots))
        taught, used = order[:50], order[50:]
        yield (
            FeatureReference.of(user.features[taught], user.slots[taught]),
            _from_rows(user.features[used]),
            {"writers, another hand": _from_rows(other.features)},
        )


def _from_rows(rows: NDArray[np.float32]) -> Sampler:
    return lambda rng, num: rows[rng.integers(len(rows), size=num)]


def measure_feedback(num_events: int, repeats: int, seed: int) -> dict[str, Any]:
    """False alarms at steady error rates, and delays after 10 -> 30 %."""
    rng = np.random.default_rng(seed)
    num_short = max(1, num_events // SHORT)
    long, short = {}, {}
    for rate in ERROR_RATES:
        name = f"error {rate:g}"
        long[name] = per_thousand(false_alarms(rate, num_events, rng), num_events)
        alarms = sum(false_alarms(rate, SHORT, rng) for _ in range(num_short))
        short[name] = per_thousand(alarms, num_short * SHORT)
    return {
        "false alarms, one long stream": long,
        f"false alarms, streams of {SHORT} events": short,
        "error 10 -> 30 %": {
            f"after {history} events": summary(delays(0.1, 0.3, history, repeats, rng))
            for history in HISTORIES
        },
    }


def measure_shift(
    num_events: int, repeats: int, seed: int, bundle: Path | None, num_users: int
) -> dict[str, Any]:
    """False alarms of the feature-shift detector, and its delays."""
    rng = np.random.default_rng(seed)
    reference, draw, shifts = normal_sources()
    alarms = shift_false_alarms(reference, draw, num_events, rng)
    result: dict[str, Any] = {
        "normal, false alarms": per_thousand(alarms, num_events // CHUNK * CHUNK),
    }
    for name, shifted in shifts.items():
        result[name] = summary(shift_delays(reference, draw, shifted, repeats, rng))
    archive = find_archive()
    if archive is None or bundle is None:
        return result
    alarms, found = 0, []
    for reference, draw, shifts in writer_sources(archive, bundle, num_users):
        alarms += shift_false_alarms(reference, draw, num_events // num_users, rng)
        for shifted in shifts.values():
            found += shift_delays(reference, draw, shifted, max(1, repeats // num_users), rng)
    watched = num_events // num_users // CHUNK * CHUNK * num_users
    result["writers, false alarms"] = per_thousand(alarms, watched)
    result["writers, another hand"] = summary(found)
    return result


def main() -> int:
    """Run, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    started = time.process_time()
    document = {
        "command": f"python -m benchmarks.guard.drift --bundle BUNDLE --events {a.events} "
        f"--repeats {a.repeats} --users {a.users} --seed {a.seed}",
        "seed": a.seed,
        **environment(),
        **({} if a.bundle is None else provenance(open_bundle(a.bundle))),
        "targets": TARGETS,
        "feedback": measure_feedback(a.events, a.repeats, a.seed),
        "features": measure_shift(a.events, a.repeats, a.seed, a.bundle, a.users),
        "cpu_seconds": round(time.process_time() - started),
    }
    text = json.dumps(document, indent=1)
    sys.stdout.write(f"{text}\n")
    if a.out is not None:
        a.out.write_text(f"{text}\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
