"""The variance of a learner of values grows away from what it was taught: figure and picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Engine
from export.benchmark.config import LearnerPlan
from export.benchmark.plots import plot_waves
from export.benchmark.run import Row
from export.benchmark.waves import (
    EDGES,
    VARIANCE,
    one_function,
    points_on_one_side,
    variance_by_distance,
    variance_text,
)
from export.evaluate import EvaluateOptions
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from export.pipeline import ExportOptions, export_bundle
from export.tasks.sampler import EpisodeOptions
from export.tasks.sinusoids import SinusoidTasks
from export.train import train
from export.train_options import TrainOptions

if TYPE_CHECKING:
    from pathlib import Path

RUN = TrainOptions(
    steps=700,
    outer_lr=1e-2,
    episodes=EpisodeOptions(shots=1, max_shots=10, queries=20, draws=16),
)


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Row:
    """A conditional neural process that was trained for some seconds."""
    folder: Path = tmp_path_factory.mktemp("row")
    options = LearnerOptions(input_shape=(1,), task="regression", settings={"dim": 32, "units": 32})
    learner, source = make_learner("cnp", options, seed=0), SinusoidTasks()
    train(learner, source, RUN)
    export = ExportOptions(
        name="waves", target="x86", accuracy=EvaluateOptions(episodes=20), max_drop=0.2
    )
    export_bundle(learner, source, folder / "int8", export)
    return Row(plan=LearnerPlan(name="cnp", label="cnp"), folder=folder, figures={})


def test_the_variance_grows_away_from_what_was_taught(row: Row) -> None:
    found = variance_by_distance(Engine(row.folder / "int8"), SinusoidTasks().pool("test"), 0)
    growth = found["growth"]
    assert growth["mean"] - growth["half_width"] > 0
    assert found["variance"][-1] > found["variance"][0]
    assert found["edges"] == pytest.approx(list(EDGES), rel=1e-2)
    assert len(found["variance"]) == len(found["error"]) == len(EDGES) - 1
    text = variance_text(
        [Row(plan=row.plan, folder=row.folder, figures={f"{VARIANCE} 0": found})], 0
    )
    for part in ("| cnp | variance |", "| squared error |", "beyond 3", "cnp: "):
        assert part in text
    assert variance_text([row], 0) == ""


def test_a_variance_that_does_not_grow_is_seen(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(row.folder / "int8")

    def flat(self: Engine, *arguments: Any) -> Any:
        found = original(self, *arguments)
        return type(found)(found.mean, np.ones_like(found.mean))

    original = Engine.predict_values
    monkeypatch.setattr(Engine, "predict_values", flat)
    found = variance_by_distance(engine, SinusoidTasks().pool("test"), 0)
    assert found["growth"]["mean"] == 0
    assert found["variance"] == [1.0] * (len(EDGES) - 1)


def test_the_points_are_on_one_side() -> None:
    x, y = one_function(SinusoidTasks().pool("test"), 3)
    assert x.shape == y.shape == (400, 1)
    assert (np.diff(x[:, 0]) >= 0).all()
    for count in (1, 2, 4):
        rows = points_on_one_side(x, count)
        assert len(set(rows.tolist())) == count
        assert (x[rows] <= np.median(x)).all()


def test_the_picture(row: Row, tmp_path: Path) -> None:
    path = tmp_path / "waves.svg"
    plot_waves([row], SinusoidTasks().pool("test"), 0, path)
    text = path.read_text()
    for part in ("1 point taught", "4 points taught", "the function", "standard deviations", "cnp"):
        assert part in text
    plot_waves([row], SinusoidTasks().pool("test"), 0, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == text
