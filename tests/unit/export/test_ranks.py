"""Data-parallel training: two processes, as torchrun starts them, beside one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from export.checkpoint import CheckpointError
from export.ranks import Ranks, joined_ranks
from export.train import train
from tests.support.rank_worker import RUN, learner_of, meta_gradient, whole_batch
from tests.support.tasks import BlockTasks

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two ranks left what they found."""
    found = tmp_path_factory.mktemp("ranks")
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*start, "--module", "tests.support.rank_worker", str(found)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return found


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_ranks_with_half_of_the_draws_have_the_meta_gradient_of_one_with_all(
    both: list[dict[str, Any]],
) -> None:
    want = meta_gradient(learner_of("maml").double(), whole_batch())
    for found in both:
        for one, two in zip(found["gradient"], want, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_ranks_hold_the_same_weights_and_batch_norm_statistics(
    both: list[dict[str, Any]],
) -> None:
    first, second = both
    assert first["losses"] == second["losses"]
    for name, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][name]), name


def test_every_rank_draws_episodes_of_its_own(both: list[dict[str, Any]]) -> None:
    alone = train(learner_of("prototypical", seed=0), BlockTasks(), RUN)
    # rank 0's draws are those of a run alone: with equal ones the mean would be no other loss
    assert both[0]["losses"][0] != pytest.approx(alone.losses[0], rel=1e-6)


def test_ranks_resume_where_they_stopped_from_the_first_one_s_file(
    both: list[dict[str, Any]],
) -> None:
    for found in both:
        assert found["resumed losses"] == found["losses"]
        for name, tensor in found["weights"].items():
            assert torch.equal(tensor, found["resumed"][name]), name
    assert [found["files"] for found in both] == [True, False]
    assert both[0]["streams"] == 2


def test_one_process_does_not_go_on_with_the_run_of_two(
    folder: Path, both: list[dict[str, Any]]
) -> None:
    assert both
    with pytest.raises(CheckpointError, match="another run: ranks differ"):
        train(learner_of("prototypical"), BlockTasks(), RUN, checkpoint=folder / "run0.pt")


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_ranks() as ranks:
        assert ranks == Ranks()
        assert ranks.is_first
        assert ranks.from_first("value") == "value"
        assert ranks.gathered(3) == [3]
    assert not torch.distributed.is_initialized()
