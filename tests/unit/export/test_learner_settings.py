"""A learner's own options: declared on its class, set by name, kept in checkpoint and manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from edge_sdk.errors import InvalidOptionError
from export.checkpoint import describe_learner, restore_learner
from export.learners.base import LearnerOptions
from export.learners.prototypical import Prototypical
from export.learners.registry import LEARNERS, make_learner
from export.tasks.sampler import EpisodeOptions
from export.train import train
from export.train_options import TrainOptions
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class WithSettings(Prototypical):
    """Has one option of each type."""

    name = "with_settings"
    defaults: ClassVar[Mapping[str, int | float]] = {"rank": 4, "decay": 0.5}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEARNERS, WithSettings.name, WithSettings)


def test_defaults_hold_unless_a_setting_replaces_them() -> None:
    plain = make_learner("with_settings", LearnerOptions(hidden=8), seed=0)
    assert (plain.setting("rank"), plain.setting("decay")) == (4, 0.5)
    options = LearnerOptions(hidden=8, settings={"rank": 8, "decay": 1})
    other = make_learner("with_settings", options, seed=0)
    assert (other.setting("rank"), other.setting("decay")) == (8, 1.0)
    assert isinstance(other.setting("decay"), float)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rnak": 8}, "with_settings has no setting 'rnak'; it has: decay, rank"),
        ({"rank": 8.0}, "rank must be of type int, got float"),
        ({"rank": True}, "rank must be of type int, got bool"),
        ({"decay": True}, "decay must be of type float, got bool"),
        ({"decay": float("nan")}, "decay must be finite, got nan"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(
    settings: Mapping[str, float], message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        make_learner("with_settings", LearnerOptions(hidden=8, settings=settings), seed=0)


def test_a_learner_without_options_says_so() -> None:
    with pytest.raises(InvalidOptionError, match="anil has no setting 'rank'; it has: none"):
        make_learner("anil", LearnerOptions(hidden=8, settings={"rank": 1}), seed=0)


def test_a_checkpoint_keeps_all_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.pt"
    learner = make_learner("with_settings", LearnerOptions(hidden=8, settings={"rank": 8}), seed=0)
    tiny = TrainOptions(steps=1, episodes=EpisodeOptions(ways=2, queries=1))
    train(learner, BlockTasks(classes=4, images_per_class=4), tiny, checkpoint=path)
    assert describe_learner(learner)["learner_options"]["settings"] == {"rank": 8, "decay": 0.5}
    # what was trained with a default keeps it when the default changes
    monkeypatch.setattr(WithSettings, "defaults", {"rank": 1, "decay": 0.25})
    restored = restore_learner(path)
    assert (restored.setting("rank"), restored.setting("decay")) == (8, 0.5)
