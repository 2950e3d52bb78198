"""How one runtime is measured on one task, in this process. Needs numpy only."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from work import REFERENCE_LOSSES

if TYPE_CHECKING:
    from collections.abc import Callable

SLOW_SECONDS = 1.0
"""A runtime that takes longer for its first adaptation is asked for one more only."""


class Adapter(Protocol):
    """One runtime, loaded with one task."""

    def reset(self) -> None:
        """Go back to the starting weights; not timed."""

    def adapt(self) -> list[float]:
        """Take the five steps from the examples on; gives the five losses."""


def measure(load: Callable[[str], Adapter], task: str, seconds: float) -> dict[str, Any]:
    """Load, adapt once, then adapt again and again for `seconds` of CPU; times of one.

    `load` imports its runtime, so that `open_and_first_ms` is all that a first result costs.
    `memory_added_mb` is how far the first adaptation's highest resident memory lies above what was
    resident once the model was loaded: the kernel's own high-water mark, reset in between.
    """
    began, began_cpu = time.perf_counter(), time.process_time()
    adapter = load(task)
    loaded, loaded_cpu = time.perf_counter(), time.process_time()
    before_kb = _reset_peak()
    losses = adapter.adapt()
    first, first_cpu = time.perf_counter(), time.process_time()
    peak_kb = _status_kb("VmHWM")
    is_slow = first_cpu - loaded_cpu > SLOW_SECONDS
    gap = float(np.max(np.abs(np.asarray(losses) - REFERENCE_LOSSES[task])))
    burst = 200 if task == "A" else 1  # one adaptation of A is too short for the CPU clock
    cpu, wall = [], []
    end = time.process_time() + seconds
    least = 1 if is_slow else 5
    while time.process_time() < end or len(cpu) < least:
        adapter.reset()
        spent_cpu, spent_wall = _burst(adapter, burst)
        cpu.append(spent_cpu / burst * 1e3)
        wall.append(spent_wall / burst * 1e3)
    return {
        "cpu_ms": statistics.median(cpu),
        "wall_ms": statistics.median(wall),
        "load_ms": (loaded - began) * 1e3,
        "open_and_first_ms": (first - began) * 1e3,
        "open_and_first_cpu_ms": (first_cpu - began_cpu) * 1e3,
        "memory_added_mb": max(0, peak_kb - before_kb) / 1024,
        "loss_gap": gap if np.isfinite(gap) else 1e9,
        "samples": len(cpu),
    }


def _burst(adapter: Adapter, count: int) -> tuple[float, float]:
    """CPU and wall seconds of `count` adaptations in a row.

    Each goes on from the one before where a runtime keeps its weights; the work is the same.
    """
    c, w = time.process_time(), time.perf_counter()
    for _ in range(count):
        adapter.adapt()
    return time.process_time() - c, time.perf_counter() - w


def _reset_peak() -> int:
    """Set the high-water mark to the resident memory, which is returned in KiB (proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status_kb("VmRSS")


def _status_kb(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    return 0
