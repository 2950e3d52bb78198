"""How long `Personalizer.predict` takes while it adapts in the background, and while it does not.

`chrt -f 10 python benchmarks/device/latency.py --out benchmarks/results/latency.json
[NAME=BUNDLE ...]`. One thread predicts one example after the other, on two cores; in every second
window another one adapts without a pause, each time with a commit to the disk: tasks A (a head, on
features) and B (conv-4, the whole network) of this benchmark, and any bundles besides. Windows take
turns, so that a busy machine slows both kinds alike, and the ratio is that of the 99th percentiles
over all windows of a kind. Without `chrt`, other programs on the same processors are measured, too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from networks import write

from edge_sdk import Personalizer

TASKS = ("A", "B")
CORES = 2
WAYS, SHOTS = 5, 5
PERCENTILES = (50, 90, 99, 99.9)


@dataclass
class Windows:
    """Times of the predictions of one kind of window, in ms."""

    times: list[list[float]] = field(default_factory=list)

    def percentiles(self) -> dict[str, float]:
        """Over all windows."""
        pooled = np.concatenate(self.times)
        return {f"p{p:g}": round(float(np.percentile(pooled, p)), 4) for p in PERCENTILES}

    def report(self) -> dict[str, object]:
        """What goes into the results."""
        p99 = [float(np.percentile(window, 99)) for window in self.times]
        return {
            "predictions": sum(map(len, self.times)),
            "ms": self.percentiles(),
            "p99_of_windows_ms": [round(value, 4) for value in sorted(p99)],
        }


def predict_for(personal: Personalizer, x: np.ndarray, seconds: float) -> list[float]:
    """Predict one example after the other; the time of each, in ms."""
    times = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        personal.predict(x)
        times.append((time.perf_counter() - begin) * 1e3)
    return times


def adapt_until(personal: Personalizer, stop: threading.Event, durations: list[float]) -> None:
    """Adapt in the background, again and again; the time of each, in ms."""
    while not stop.is_set():
        durations.append(personal.adapt(background=True).result().duration_ms)


def measure(bundle: Path, windows: int, seconds: float) -> dict[str, object]:
    """One bundle."""
    rng = np.random.default_rng(0)
    idle, adapting, durations = Windows(), Windows(), list[float]()
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as home,
        Personalizer(bundle, home=home) as personal,
    ):
        shape = personal.bundle.manifest.input.shape
        for label in range(WAYS):
            personal.teach(str(label), rng.random((SHOTS, *shape), np.float32))
        personal.adapt()
        x = rng.random((1, *shape), np.float32)
        predict_for(personal, x, seconds)  # warms up
        for _ in range(windows):
            idle.times.append(predict_for(personal, x, seconds))
            stop = threading.Event()
            worker = threading.Thread(target=adapt_until, args=(personal, stop, durations))
            worker.start()
            time.sleep(0.05)
            adapting.times.append(predict_for(personal, x, seconds))
            stop.set()
            worker.join()
    ratio = adapting.percentiles()["p99"] / idle.percentiles()["p99"]
    return {
        "idle": idle.report(),
        "adapting": adapting.report(),
        "adaptations": len(durations),
        "adaptation_ms": round(float(np.median(durations)), 3),
        "p99_ratio": round(ratio, 3),
    }


def _partition(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def main() -> int:
    """Run, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundles", nargs="*", metavar="NAME=BUNDLE")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    results: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = {task: Path(folder) / task for task in TASKS}
        for task, path in chosen.items():
            write(task, path)
        chosen |= {name: Path(path) for name, _, path in map(_partition, arguments.bundles)}
        for name, path in chosen.items():
            results[name] = measure(path, arguments.windows, arguments.seconds)
            sys.stdout.write(f"{name}: p99 ratio {results[name]['p99_ratio']}\n")
    document = {
        "command": "chrt -f 10 python benchmarks/device/latency.py "
        f"--windows {arguments.windows} --seconds {arguments.seconds:g} "
        + " ".join(f"{name}=BUNDLE" for name in chosen if name not in TASKS),
        "real_time_priority": os.sched_getscheduler(0) == os.SCHED_FIFO,
        "machine": f"{platform.machine()}, {CORES} cores, Python {platform.python_version()}",
        "results": results,
    }
    text = json.dumps(document, indent=1)
    if arguments.out is not None:
        arguments.out.write_text(f"{text}\n", "utf-8")
    else:
        sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
