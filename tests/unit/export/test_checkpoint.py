"""What a checkpoint gives back, and which files are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from export import checkpoint
from export.checkpoint import CheckpointError, read_checkpoint, restore_learner
from export.learners.base import LearnerOptions
from export.learners.registry import LEARNERS, make_learner
from export.tasks.glyphs import GlyphOptions, GlyphTasks
from export.tasks.sampler import EpisodeOptions
from export.train import train
from export.train_options import TrainOptions

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from export.learners.base import Learner

NAMES = sorted(LEARNERS)
OPTIONS = TrainOptions(
    seed=5, steps=2, episodes=EpisodeOptions(ways=4, queries=2, draws=2), checkpoint_every=1
)


@pytest.fixture(scope="module")
def source() -> GlyphTasks:
    return GlyphTasks(
        seed=1,
        options=GlyphOptions(train_classes=12, held_out_classes=4, writers=10, writers_per_class=6),
    )


def learner_of(name: str) -> Learner:
    return make_learner(name, LearnerOptions(hidden=8, ways=6, steps=2), seed=2)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_gives_the_learner_back(name: str, source: GlyphTasks, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    learner = learner_of(name)
    train(learner, source, OPTIONS, checkpoint=path)
    restored = restore_learner(path)
    assert restored.name == name
    assert restored.settings == learner.settings
    assert replace(restored.options, settings={}) == learner.options
    assert not restored.training
    for key, tensor in learner.state_dict().items():
        assert torch.equal(tensor, restored.state_dict()[key]), key


def test_a_damaged_checkpoint_is_refused(
    source: GlyphTasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.pt"
    train(learner_of("anil"), source, replace(OPTIONS, steps=1), checkpoint=path)
    content = path.read_bytes()
    assert not list(tmp_path.glob("*.partial"))
    for damaged in (b"", content[: len(content) // 2], b"no checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"run\.pt"):
            read_checkpoint(path)
    path.unlink()
    with monkeypatch.context() as another:
        another.setattr(checkpoint, "FORMAT", 99)
        train(learner_of("anil"), source, replace(OPTIONS, steps=1), checkpoint=path)
    with pytest.raises(CheckpointError, match="format 2"):
        read_checkpoint(path)


def test_a_checkpoint_with_a_wrong_bit_is_refused(
    source: GlyphTasks, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / "run.pt"
    train(learner_of("anil"), source, replace(OPTIONS, steps=1), checkpoint=path)
    content = path.read_bytes()
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except CheckpointError:
            refused += 1
    assert refused == 300


def test_a_failed_write_keeps_the_old_checkpoint(
    source: GlyphTasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.pt"
    options = replace(OPTIONS, steps=4, checkpoint_every=2)
    real_save = torch.save
    calls = 0

    def failing_save(content: object, file: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            file.write(b"half a check")  # type: ignore[attr-defined]
            raise OSError
        real_save(content, file)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "save", failing_save)
    with pytest.raises(OSError):  # noqa: PT011  (any write error)
        train(learner_of("anil"), source, options, checkpoint=path)
    assert read_checkpoint(path).step == 2
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]
