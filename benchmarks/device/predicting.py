"""`Engine.predict` beside bare ONNX Runtime on the same graph, in one process, in turns.

Bare is `onnxruntime.InferenceSession` with the same thread count: `run`, which takes arrays and
gives new ones as `predict` does, and an `IoBinding` of arrays that never change, which is the least
that Python can pay. ONNX Runtime checks neither dtype by name, finiteness nor the state; we do.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
from work import BATCH, support

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS, SECONDS = 25, 0.02


def measure_predict(task: str, folder: Path) -> dict[str, float]:
    """Median CPU microseconds of predicting one example and 25, and ratios to bare ONNX Runtime.

    Args:
        task: Whose bundle is in `folder`.
        folder: As `peer_edge.prepare` left it.
    """
    import onnxruntime

    from edge_sdk import Engine

    engine = Engine(folder / "bundle")
    x, labels = support(task)
    features = engine.embed(x)
    state = engine.adapt(features, labels).state
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        engine.bundle.files["predict.onnx"], options, providers=["CPUExecutionProvider"]
    )
    wanted = {port.name for port in session.get_inputs()}
    tensors = {f"state.{name}": np.array(state[name]) for name in state.names}
    feeds = {name: array for name, array in tensors.items() if name in wanted}
    found = {}
    for n in (1, BATCH):
        rows = np.ascontiguousarray(features[:n])
        inputs = {**feeds, "features": rows}
        binding = session.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        logits = session.run(None, inputs)[0]
        output = onnxruntime.OrtValue.ortvalue_from_numpy(logits)
        binding.bind_ortvalue_output("logits", output)
        np.testing.assert_array_equal(engine.predict(rows, state).logits, logits)
        ours, run, bound = _in_turns(
            lambda rows=rows: engine.predict(rows, state),
            lambda inputs=inputs: session.run(None, inputs),
            lambda binding=binding: session.run_with_iobinding(binding),
        )
        found |= {f"us_{n}": ours, f"bare_run_us_{n}": run, f"bare_binding_us_{n}": bound}
        found |= {f"over_run_{n}": ours / run, f"over_binding_{n}": ours / bound}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def _in_turns(*calls: Callable[[], object]) -> list[float]:
    """Median CPU microseconds of each call over rounds in which they take turns."""
    counts = []
    for call in calls:
        began, count = time.process_time(), 0
        while time.process_time() - began < SECONDS:
            call()
            count += 1
        counts.append(max(1, count))
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, count, found in zip(calls, counts, times, strict=True):
            began = time.process_time()
            for _ in range(count):
                call()
            found.append((time.process_time() - began) / count * 1e6)
    return [statistics.median(found) for found in times]
