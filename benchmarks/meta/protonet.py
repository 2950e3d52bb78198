"""ProtoNet's accuracy after 300 CPU seconds: `protonet.py [--out FILE]` (EDGE_SDK_DATA: the data).

Our trainer on Omniglot (Vinyals split), strided conv-4-64, one thread. The budget is process CPU
time, drawing and augmenting included; the last weights are kept, so that no CPU goes into
validation. Then float32 accuracy on episodes of the test characters, which training never saw, with
batch norm's running statistics: what is predicted of a query depends on no other query.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from machine import machine

from export.allocator import keep_freed_memory
from export.augment import AugmentOptions
from export.episode_loss import episode_logits
from export.intervals import mean_interval
from export.learners.base import LearnerOptions
from export.learners.recipe import ONE_SHOT_128
from export.learners.registry import make_learner
from export.tasks.registry import open_tasks
from export.tasks.sampler import EpisodeOptions, EpisodeSampler
from export.train import train
from export.train_options import TrainOptions

if TYPE_CHECKING:
    from export.learners.base import Learner
    from export.tasks.base import ImagePool

WANTED = {5: 97.8, 20: 93.0}
"""Per cent of one-shot queries, by ways."""

QUERIES = 5


def accuracy(learner: Learner, pool: ImagePool, ways: int, episodes: int) -> dict[str, float]:
    """Mean over episodes of the test split with its 95 % interval, in per cent."""
    sampler = EpisodeSampler(pool, EpisodeOptions(ways=ways, shots=1, queries=QUERIES))
    rng = np.random.default_rng([1, ways])
    found = []
    with torch.no_grad():
        for _ in range(episodes):
            batch = sampler.draw(rng)
            hits = episode_logits(learner, batch).argmax(-1) == torch.from_numpy(batch.query_y)
            found.append(100 * hits.double().mean().item())
    mean = mean_interval(found)
    return {
        "percent": round(mean.mean, 2),
        "interval_95": round(mean.half_width, 2),
        "wanted": WANTED[ways],
    }


def main() -> None:
    """Train, evaluate, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/meta_protonet.json"))
    parser.add_argument("--data", type=Path, default=os.environ.get("EDGE_SDK_DATA"))
    parser.add_argument("--cpu-seconds", type=float, default=300.0)
    parser.add_argument("--outer-lr", type=float, default=6e-3)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the command does
    source = open_tasks("omniglot", data=args.data)
    pools = {split: source.pool(split) for split in ("train", "test")}
    learner = make_learner("prototypical", LearnerOptions(), seed=args.seed)
    options = TrainOptions(
        seed=args.seed,
        minutes=args.cpu_seconds / 60,
        episodes=ONE_SHOT_128,
        augment=AugmentOptions(mirror=True),
        outer_lr=args.outer_lr,
    )
    started = time.process_time()
    report = train(learner, source, options, clock=time.process_time)
    spent = time.process_time() - started
    found = {
        f"{ways}-way 1-shot": accuracy(learner, pools["test"], ways, args.episodes)
        for ways in WANTED
    }
    result = {
        "command": "python benchmarks/meta/protonet.py "
        f"--cpu-seconds {args.cpu_seconds:g} --outer-lr {args.outer_lr:g} --seed {args.seed} "
        f"--episodes {args.episodes}",
        "machine": machine(),
        "training": "128 ways, two images of a class, each in turn the prototype",
        "cpu_seconds": round(spent, 1),
        "outer_steps": report.steps,
        "test": found,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
