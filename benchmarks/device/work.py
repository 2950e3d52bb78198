"""The work that every runtime is given, and how one run is measured. Needs numpy only.

All float32, plain SGD, mean softmax cross-entropy, 25 examples of 5 classes, 5 steps:

  A   features `[25, 64]`, a linear layer 64 -> 5, rate 0.1
  B   images `[25, 1, 28, 28]`, conv-4: four times (3x3 convolution, stride 2, 64 channels; batch
      norm on batch statistics; ReLU), mean over space, linear 64 -> 5; all is trained, rate 0.4
  Bp  the same with stride 1 and a 2x2 max-pool behind each ReLU, rate 0.1
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

STEPS, BATCH, WAYS, DIM, BLOCKS = 5, 25, 5, 64, 4
TASKS = ("A", "B", "Bp")
RATES = {"A": 0.1, "B": 0.4, "Bp": 0.1}
NORM_EPS = 1e-5
IMAGE = (1, 28, 28)

REFERENCE_LOSSES = {  # PyTorch eager, before each step
    "A": [1.60944, 0.77991, 0.42593, 0.2782, 0.20357],
    "B": [1.72824, 0.15541, 0.08716, 0.06501, 0.05251],
    "Bp": [2.01359, 0.52552, 0.01204, 0.00912, 0.00762],
}
LOSS_TOLERANCE = 1e-4


class Adapter(Protocol):
    """One runtime, loaded with one task."""

    def reset(self) -> None:
        """Go back to the starting weights; not timed."""

    def adapt(self) -> list[float]:
        """Take the five steps; gives the five losses."""


@dataclass(frozen=True)
class Block:
    """One convolution with its norm: kernel OIHW, bias, norm scale, norm shift."""

    kernel: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


def start(task: str) -> tuple[list[Block], np.ndarray, np.ndarray]:
    """The starting weights: blocks, linear weight `[64, 5]`, linear bias `[5]`."""
    bias = np.zeros(WAYS, np.float32)
    if task == "A":
        return [], np.zeros((DIM, WAYS), np.float32), bias
    rng = np.random.default_rng(7)

    def draw(shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        return (rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)

    blocks = []
    for channels in (1, DIM, DIM, DIM):
        kernel = draw((DIM, channels, 3, 3), channels * 9)
        zeros = np.zeros(DIM, np.float32)
        blocks.append(Block(kernel, zeros, np.ones(DIM, np.float32), zeros))
    return blocks, draw((DIM, WAYS), DIM), bias


def support(task: str) -> tuple[np.ndarray, np.ndarray]:
    """Examples, float32 `[25, ...]`, and classes, int64 `[25]`."""
    rng = np.random.default_rng(11)
    classes = np.repeat(np.arange(WAYS), BATCH // WAYS).astype(np.int64)
    shape = (DIM,) if task == "A" else IMAGE
    centres = rng.standard_normal((WAYS, *shape)).astype(np.float32)
    noise = rng.standard_normal((BATCH, *shape)).astype(np.float32)
    return np.ascontiguousarray(centres[classes] + 0.5 * noise, np.float32), classes


def measure(load: Any, task: str, seconds: float) -> dict[str, Any]:
    """Load, adapt once, then adapt again and again for `seconds`; times of one adaptation."""
    began = time.perf_counter()
    adapter: Adapter = load(task)
    loaded = time.perf_counter()
    before_kb = _status_kb("VmRSS")
    losses = adapter.adapt()
    first = time.perf_counter()
    peak_kb = _status_kb("VmHWM")
    gap = float(np.max(np.abs(np.asarray(losses) - REFERENCE_LOSSES[task])))
    burst = 200 if task == "A" else 1  # one adaptation of A is too short for the CPU clock
    cpu, wall = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(cpu) < 5:
        adapter.reset()
        spent_cpu, spent_wall = _burst(adapter, burst)
        cpu.append(spent_cpu / burst * 1e3)
        wall.append(spent_wall / burst * 1e3)
    return {
        "cpu_ms": statistics.median(cpu),
        "wall_ms": statistics.median(wall),
        "load_ms": (loaded - began) * 1e3,
        "load_and_first_ms": (first - began) * 1e3,
        "memory_added_mb": max(0, peak_kb - before_kb) / 1024,
        "loss_gap": gap,
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


def _status_kb(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    return 0
