"""CPU time that judging a model takes, beside that of adapting it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.guardrail import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.guard.writers import Writer
    from edge_sdk import Engine

COUNTS = (5, 10, 25, 50, 100)
ROUNDS = 7
CALLS = 10


def judging_cost(engine: Engine, writer: Writer) -> dict[str, dict[str, float]]:
    """Median CPU ms, all threads, of one call, by how many of a writer's examples are kept."""
    found = {}
    for num in COUNTS:
        features, slots = writer.features[:num], writer.slots[:num]
        candidate = engine.adapt(features, slots).state
        seen = np.arange(num) < num // 2
        found[f"{num} examples"] = {
            "adapt": cpu_ms(partial(engine.adapt, features, slots)),
            "judge, the base serves": cpu_ms(partial(judge, engine, features, slots, candidate)),
            "judge, a state serves": cpu_ms(
                partial(judge, engine, features, slots, candidate, current=seen)
            ),
        }
    return found


def cpu_ms(call: Callable[[], object]) -> float:
    """Median over rounds of the CPU time of one call."""
    call()
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(CALLS):
            call()
        found.append(1000 * (time.process_time() - started) / CALLS)
    return round(float(np.median(found)), 3)
