"""Adapted accuracy on unseen Omniglot classes: backbone on the NPU's emulator beside the CPU.

`python -m benchmarks.npu.omniglot BUNDLE --out benchmarks/results/npu.json`, with the extra `npu`
and `EDGE_SDK_DATA`. Both see the same episodes, so the difference is that of pairs. The bundle is
that of `edge-sdk export train --learner prototypical --tasks omniglot --target npu --out BUNDLE`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from edge_sdk import Engine, QnnProvider, open_bundle
from export.evaluate import EvaluateOptions, evaluate
from export.intervals import mean_interval
from export.tasks.registry import open_tasks

EPISODES = ((5, 1), (5, 5), (20, 1))  # ways, shots
LIMIT = 0.003
QUERIES = 5


def compare(
    bundle: Path, soc: str, ways: int, shots: int, episodes: int, seed: int
) -> dict[str, object]:
    """One kind of episode, on both."""
    pool = open_tasks("omniglot", data=Path(os.environ["EDGE_SDK_DATA"]), seed=seed).pool("test")
    options = EvaluateOptions(ways=ways, shots=shots, queries=QUERIES, episodes=episodes, seed=seed)
    npu = Engine(bundle, providers=(QnnProvider(soc=soc),))
    on_cpu = evaluate(Engine(bundle), pool, options).accuracies
    on_npu = evaluate(npu, pool, options).accuracies
    difference = mean_interval(on_npu - on_cpu)
    return {
        "ways": ways,
        "shots": shots,
        "episodes": episodes,
        "cpu": round(float(on_cpu.mean()), 5),
        "npu": round(float(on_npu.mean()), 5),
        "difference": round(difference.mean, 6),
        "difference_half_width_95": round(difference.half_width, 6),
        "episodes_that_differ": int(np.count_nonzero(on_npu != on_cpu)),
        "nodes": {name: sum(kinds.values()) for name, kinds in npu.placement.nodes.items()},
        "within_limit": bool(abs(difference.mean) <= LIMIT),
    }


def main() -> int:
    """Run, print and write the result; 0 where the accuracies agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--soc", default="SM8650")
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    opened = open_bundle(arguments.bundle)
    rows = [
        compare(arguments.bundle, arguments.soc, ways, shots, arguments.episodes, arguments.seed)
        for ways, shots in EPISODES
    ]
    document = {
        "command": "python -m benchmarks.npu.omniglot BUNDLE "
        f"--soc {arguments.soc} --episodes {arguments.episodes} --seed {arguments.seed}",
        "bundle": opened.manifest.name,
        "bundle_digest": opened.digest,
        "provenance": dict(opened.manifest.provenance),
        "soc": arguments.soc,
        "limit": LIMIT,
        "machine": platform.machine(),
        "onnxruntime": version("onnxruntime"),
        "onnxruntime-qnn": version("onnxruntime-qnn"),
        "results": rows,
    }
    text = json.dumps(document, indent=1)
    sys.stdout.write(f"{text}\n")
    if arguments.out is not None:
        arguments.out.write_text(f"{text}\n", "utf-8")
    return 0 if all(row["within_limit"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
