"""One engine under several Python threads, and the GIL left to others while it computes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge_sdk._core import Engine

WAYS, DIM = 4, 8
LONG_STEPS = 10_000


def test_threads_get_the_same_bits(gradient_engine: Engine, rng: np.random.Generator) -> None:
    features = rng.normal(size=(12, DIM)).astype(np.float32)
    labels = np.arange(12) % WAYS
    want, want_losses = gradient_engine.adapt(features, labels)
    want_logits = [gradient_engine.predict(features[:n], want)[0] for n in range(1, 13)]

    def work(worker: int) -> bool:
        for turn in range(50):
            n = 1 + (worker + turn) % 12
            state, losses = gradient_engine.adapt(features, labels)
            logits, _ = gradient_engine.predict(features[:n], state)
            if state != want or not np.array_equal(losses, want_losses):
                return False
            if not np.array_equal(logits, want_logits[n - 1]):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))


def test_other_threads_run_while_it_adapts(
    gradient_engine: Engine, rng: np.random.Generator
) -> None:
    features = rng.normal(size=(12, DIM)).astype(np.float32)
    labels = np.arange(12) % WAYS
    started = threading.Event()
    spans: list[tuple[float, float]] = []

    def adapt() -> None:
        started.set()
        begin = time.perf_counter()
        gradient_engine.adapt(features, labels, None, LONG_STEPS)
        spans.append((begin, time.perf_counter()))

    worker = threading.Thread(target=adapt)
    worker.start()
    started.wait()
    ticks = [time.perf_counter()]
    while worker.is_alive():
        time.sleep(0.001)
        ticks.append(time.perf_counter())
    worker.join()
    ((begin, end),) = spans
    longest_pause = max(np.diff(ticks))
    # Were the GIL held, this thread would have stood still for all of it.
    assert longest_pause < (end - begin) / 2, (longest_pause, end - begin)
