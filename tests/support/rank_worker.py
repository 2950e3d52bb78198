"""One rank of a data-parallel run, for tests: `torchrun ... --module tests.support.rank_worker`."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from export.checkpoint import read_checkpoint
from export.episode_loss import episode_loss
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from export.ranks import joined_ranks
from export.tasks.sampler import EpisodeOptions, EpisodeSampler
from export.train import train
from export.train_options import TrainOptions
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from export.learners.base import Learner
    from export.progress import TrainEvent
    from export.ranks import Ranks
    from export.tasks.base import EpisodeBatch

EPISODES = EpisodeOptions(ways=3, queries=2, draws=4)
RUN = TrainOptions(
    seed=3,
    steps=4,
    episodes=EpisodeOptions(ways=3, queries=2, draws=1),
    outer_lr=3e-3,
    validation=EpisodeOptions(ways=3, queries=2, draws=1),
    validation_batches=1,
    validate_every=2,
    checkpoint_every=1,
)


class StoppedError(Exception):
    """Stands for whatever ends the processes between two steps."""


def learner_of(name: str, *, seed: int = 1) -> Learner:
    return make_learner(name, LearnerOptions(hidden=8, ways=4, steps=2), seed=seed)


def draws_of(batch: EpisodeBatch, which: slice) -> EpisodeBatch:
    """Some of a batch's episodes."""
    return replace(
        batch,
        support=batch.support[which],
        support_y=batch.support_y[which],
        query=batch.query[which],
        query_y=batch.query_y[which],
    )


def whole_batch() -> EpisodeBatch:
    return EpisodeSampler(BlockTasks().pool("train"), EPISODES).draw(np.random.default_rng(0))


def meta_gradient(learner: Learner, batch: EpisodeBatch) -> list[torch.Tensor]:
    loss, _ = episode_loss(learner, batch)
    return list(torch.autograd.grad(loss, list(learner.parameters())))


def gradient_of_a_part(ranks: Ranks) -> list[torch.Tensor]:
    """Of this rank's share of the batch, averaged over ranks."""
    share = EPISODES.draws // ranks.size
    mine = slice(ranks.rank * share, (ranks.rank + 1) * share)
    gradient = meta_gradient(learner_of("maml").double(), draws_of(whole_batch(), mine))
    ranks.average(gradient)
    return gradient


def trained(ranks: Ranks, folder: Path) -> dict[str, object]:
    """A whole run, and one that stops on the way and goes on, of a learner with batch norm."""

    def stop(event: TrainEvent) -> None:
        if event.step == 3:
            raise StoppedError

    # other weights on other ranks: they are to take the first one's
    whole = learner_of("prototypical", seed=ranks.rank)
    report = train(whole, BlockTasks(), RUN, ranks=ranks)
    path = folder / f"run{ranks.rank}.pt"  # each its own, as on several machines
    with suppress(StoppedError):
        train(
            learner_of("prototypical", seed=0),
            BlockTasks(),
            RUN,
            checkpoint=path,
            progress=stop,
            ranks=ranks,
        )
    resumed = learner_of("prototypical", seed=7)
    again = train(resumed, BlockTasks(), RUN, checkpoint=path, ranks=ranks)
    return {
        "weights": whole.state_dict(),
        "losses": list(report.losses),
        "resumed": resumed.state_dict(),
        "resumed losses": list(again.losses),
        "streams": len(read_checkpoint(path).rng["ranks"]) if ranks.is_first else 0,
        "files": path.exists(),
    }


def main(folder: Path) -> None:
    """Leave what this rank found in `folder`."""
    torch.set_num_threads(1)
    with joined_ranks() as ranks:
        found = {"gradient": gradient_of_a_part(ranks), **trained(ranks, folder)}
        torch.save(found, folder / f"rank{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
