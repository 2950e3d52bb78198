"""Meta-training beside learn2learn and higher: `run.py [--out FILE]`, in make_venv.sh's venv.

Process CPU time of one meta-gradient on one thread, strided conv-4-64, 5-way 1-shot, meta-batch
32. All routes take turns in one process, so that a busy machine slows all of them alike; a figure
is a median over rounds. Before anything is timed, meta-gradients are compared with learn2learn's
in float64. Compiling is not part of the time; the seconds that it took are reported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from machine import machine
from network import META_BATCH, RATES, Conv4, draw_tasks
from no_torchvision import stand_in

stand_in()  # before learn2learn is imported

import numpy as np  # noqa: E402
import peers  # noqa: E402
from ours import Ours  # noqa: E402

from export.allocator import keep_freed_memory  # noqa: E402
from export.compiled import EpisodesInParts  # noqa: E402
from export.learners.base import LearnerOptions  # noqa: E402
from export.learners.registry import make_learner  # noqa: E402
from export.objectives.query_loss import QueryLoss  # noqa: E402
from export.tasks.base import ImagePool  # noqa: E402
from export.tasks.sampler import EpisodeOptions  # noqa: E402
from export.train_options import TrainOptions  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

TOLERANCE = 1e-4
CHECK_TASKS = 2
PROTONET = EpisodeOptions(ways=60, shots=1, queries=5)


def gap(found: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    """Relative L2 distance of two meta-gradients."""
    a, b = (torch.cat([g[name].reshape(-1) for name in want]) for g in (found, want))
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


def check(steps: int, *, compile_too: bool) -> dict[str, float]:
    """Distance of our meta-gradients from learn2learn's, in float64.

    What is compiled is checked as the graph that the compiler is given.
    """
    torch.set_default_dtype(torch.float64)
    try:
        network, tasks = Conv4(seed=0), draw_tasks(CHECK_TASKS, seed=1)
        rate = RATES[steps]
        found = {}
        for name, want, head_only in (
            ("maml", peers.learn2learn_maml(network, tasks, steps, rate), False),
            ("anil", peers.learn2learn_anil(network, tasks, steps, rate), True),
        ):
            ways = {"": "plain", " compiled": "traced"} if compile_too else {"": "plain"}
            for how, parts in ways.items():
                route = Ours(
                    network, steps, rate, head_only=head_only, parts=EpisodesInParts(parts)
                )
                found[f"our {name}{how}"] = gap(route.meta_gradient(tasks), want)
        return found
    finally:
        torch.set_default_dtype(torch.float32)


def compare(steps: int, rounds: int, *, compile_too: bool) -> dict[str, object]:
    """CPU time of every route at one number of inner steps."""
    network, tasks, rate = Conv4(seed=0), draw_tasks(META_BATCH, seed=1), RATES[steps]
    routes: dict[str, Callable[[], object]] = {
        f"{name} {kind}": partial(function, network, tasks, steps, rate)
        for name, kind, function in (
            ("learn2learn", "maml", peers.learn2learn_maml),
            ("higher", "maml", peers.higher_maml),
            ("learn2learn", "anil", peers.learn2learn_anil),
        )
    }
    seconds_to_compile = {}
    for kind, head_only in (("maml", False), ("anil", True)):
        ways = {"": "plain", " compiled": "compiled"} if compile_too else {"": "plain"}
        for how, parts in ways.items():
            route = Ours(network, steps, rate, head_only=head_only, parts=EpisodesInParts(parts))
            started = time.process_time()
            routes[f"our {kind}{how}"] = partial(route.meta_gradient, tasks)
            route.meta_gradient(tasks)
            if how:
                seconds_to_compile[f"our {kind}"] = round(time.process_time() - started, 1)
    times = time_in_turns(routes, rounds)
    base = times["learn2learn maml"]["median_ms"]
    anil = times["learn2learn anil"]["median_ms"]
    return {
        "cpu_ms": times,
        "times_faster_than_learn2learn_maml": {
            name: round(base / found["median_ms"], 2) for name, found in times.items()
        },
        "our_anil_times_faster_than_learn2learn_anil": {
            name: round(anil / found["median_ms"], 2)
            for name, found in times.items()
            if name.startswith("our anil")
        },
        "cpu_seconds_to_compile": seconds_to_compile,
        "gap_from_learn2learn_in_float64": (gaps := check(steps, compile_too=compile_too)),
        "gaps_within_tolerance": all(found <= TOLERANCE for found in gaps.values()),
    }


def time_in_turns(
    routes: dict[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, dict[str, float]]:
    """Median, least and largest time of each, in ms."""
    found: dict[str, list[float]] = {name: [] for name in routes}
    for i in range(rounds + 1):
        for name, route in routes.items():
            started = clock()
            route()
            if i > 0:  # the first round warms up
                found[name].append(1e3 * (clock() - started))
    return {
        name: {
            "median_ms": round(statistics.median(times), 1),
            "least_ms": round(min(times), 1),
            "largest_ms": round(max(times), 1),
        }
        for name, times in found.items()
    }


def protonet(rounds: int) -> dict[str, object]:
    """Our trainer's 60-way 1-shot 5-query ProtoNet steps: draw, loss, gradient, Adam."""
    rng = np.random.default_rng(0)
    count = 2000
    pool = ImagePool(
        images=rng.integers(0, 256, (count, 28, 28), dtype=np.uint8),
        classes=np.arange(count) // 20,
        users=np.arange(count) % 20,
        class_names=[str(i) for i in range(count // 20)],
    )
    learner = make_learner("prototypical", LearnerOptions(), seed=0)
    objective = QueryLoss(pool, TrainOptions(episodes=PROTONET))
    optimizer = torch.optim.Adam(learner.parameters())

    def step() -> None:
        found = objective.measure(learner, objective.draw(rng), 0.0)
        optimizer.zero_grad()
        found.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    times = time_in_turns({"step": step}, rounds)["step"]
    torch.set_num_threads(2)
    both = time_in_turns({"step": step}, rounds, time.perf_counter)["step"]
    torch.set_num_threads(1)
    return {
        "cpu_ms": times,
        "episodes_per_cpu_second": round(1e3 / times["median_ms"], 2),
        "ms_with_two_threads": both,
        "episodes_per_second_with_two_threads": round(1e3 / both["median_ms"], 2),
    }


def main() -> None:
    """Compare, write the JSON, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/meta.json"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, nargs="+", choices=sorted(RATES), default=[1, 5])
    parser.add_argument("--eager", action="store_true", help="Compile nothing: minutes less.")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    by_steps: dict[str, dict[str, object]] = {}
    asked = f"--rounds {args.rounds} --steps {' '.join(map(str, args.steps))}"
    report = {
        "command": f"python benchmarks/meta/run.py {asked}{' --eager' if args.eager else ''}",
        "figure": "median process CPU ms of one meta-gradient, one thread; see run.py",
        "machine": machine(),
        "versions": {name: version(name) for name in ("torch", "learn2learn", "higher")},
        "inner_steps": by_steps,
        "protonet_60_way_1_shot_5_queries": protonet(args.rounds),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for steps in args.steps:  # compiling five steps takes long: what is known is written at once
        by_steps[str(steps)] = found = compare(steps, args.rounds, compile_too=not args.eager)
        args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        ratios = found["times_faster_than_learn2learn_maml"]
        sys.stdout.write(f"{steps} inner step(s): {json.dumps(ratios)}\n")


if __name__ == "__main__":
    main()
