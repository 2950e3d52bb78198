"""Starting from another learner's trunk, and embedding a pool once for many evaluations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from edge_sdk import Engine
from edge_sdk.errors import InvalidOptionError
from export.checkpoint import CheckpointError
from export.evaluate import EvaluateOptions, evaluate
from export.feature_table import feature_table
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from export.pipeline import ExportOptions, export_bundle
from export.tasks.base import TEST
from export.tasks.sampler import EpisodeOptions
from export.train import train
from export.train_options import TrainOptions
from export.warm_start import start_from
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from pathlib import Path

    from export.learners.base import Learner

RUN = TrainOptions(steps=2, episodes=EpisodeOptions(ways=4, queries=1), outer_lr=1e-2)
OPTIONS = LearnerOptions(hidden=8, ways=6)


def learner(name: str, *, seed: int = 0, **changes: object) -> Learner:
    return make_learner(name, replace(OPTIONS, **changes), seed=seed)  # type: ignore[arg-type]


def trunk(of: Learner) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, part in of.trunk().items()
        for key, value in part.state_dict().items()
    }


@pytest.fixture(scope="module")
def source() -> BlockTasks:
    return BlockTasks(classes=30, images_per_class=6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, source: BlockTasks) -> tuple[Learner, Path]:
    path = tmp_path_factory.mktemp("start") / "prototypical.pt"
    found = learner("prototypical")
    train(found, source, RUN, checkpoint=path)
    return found, path


@pytest.mark.parametrize("name", ["matching", "cnp", "lstm", "anil"])
def test_the_trunk_is_the_other_learners_and_all_else_its_own(
    name: str, trained: tuple[Learner, Path]
) -> None:
    other, path = trained
    mine = learner(name, seed=1)
    before = {k: v.clone() for k, v in mine.state_dict().items()}
    start_from(mine, path)
    theirs = trunk(other)
    assert theirs
    for key, value in trunk(mine).items():
        assert torch.equal(value, theirs[key]), key
    changed = {k for k, v in mine.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all("backbone" in key for key in changed)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("matching", {"hidden": 16}), ("ridge", {"backbone": "resnet-lite"}), ("maml", {})],
)
def test_another_trunk_is_refused_and_nothing_changes(
    name: str, changes: dict[str, object], trained: tuple[Learner, Path]
) -> None:
    mine = learner(name, **changes)
    before = {k: v.clone() for k, v in mine.state_dict().items()}
    with pytest.raises(InvalidOptionError, match=r"cannot start from prototypical\.pt"):
        start_from(mine, trained[1])
    assert all(torch.equal(v, before[k]) for k, v in mine.state_dict().items())


def test_a_run_goes_on_only_from_the_start_that_it_had(
    trained: tuple[Learner, Path], source: BlockTasks, tmp_path: Path
) -> None:
    run, half = tmp_path / "matching.pt", replace(RUN, checkpoint_every=1)
    first = learner("matching")
    train(first, source, half, start=trained[1], checkpoint=run)
    again = learner("matching", seed=3)
    train(again, source, half, start=trained[1], checkpoint=run)
    for key, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    with pytest.raises(CheckpointError, match="start"):
        train(learner("matching"), source, half, checkpoint=run)


def test_a_table_gives_the_figures_of_embedding_each_episode(
    trained: tuple[Learner, Path], source: BlockTasks, tmp_path: Path
) -> None:
    options = ExportOptions(
        name="table", max_drop=1.0, accuracy=EvaluateOptions(ways=3, episodes=2, queries=1)
    )
    export_bundle(trained[0], source, tmp_path / "bundle", options)
    engine, pool = Engine(tmp_path / "bundle"), source.pool(TEST)
    asked = EvaluateOptions(ways=4, shots=2, queries=2, episodes=20)
    table = feature_table(engine, pool)
    assert table is not None
    with_table = evaluate(engine, pool, asked, table=table)
    without = evaluate(engine, pool, asked)
    np.testing.assert_array_equal(with_table.accuracies, without.accuracies)
    assert with_table.nll is not None
    assert without.nll is not None
    assert with_table.nll.mean == pytest.approx(without.nll.mean, rel=1e-5)
    assert with_table.embed_ms == table.embed_ms > 0
