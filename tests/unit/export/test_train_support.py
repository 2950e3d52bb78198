"""What the trainer leans on: augmentation, progress lines, recipes."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch

from edge_sdk.errors import InvalidOptionError
from export.augment import AugmentOptions, augment
from export.learners.prototypical import Prototypical
from export.learners.recipe import Recipe
from export.learners.registry import LEARNERS
from export.progress import LineProgress, TrainEvent, show_progress
from export.recipes import recipe
from export.tasks.registry import SOURCES
from export.train_options import TrainOptions


def blobs(n: int = 8) -> torch.Tensor:
    images = torch.zeros(n, 1, 28, 28)
    images[:, :, 8:14, 6:12] = 1
    return images


def test_no_augmentation_changes_nothing() -> None:
    images = blobs()
    options = AugmentOptions()
    same = augment(images, images_per_class=2, options=options, rng=np.random.default_rng(0))
    assert torch.equal(same, images)


def test_mirroring_treats_all_images_of_a_class_alike() -> None:
    images = torch.rand(60, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    options = AugmentOptions(mirror=True)
    out = augment(images, images_per_class=3, options=options, rng=np.random.default_rng(1))
    mirrored = (out == images.flip(-1)).flatten(1).all(1).reshape(20, 3)
    kept = (out == images).flatten(1).all(1).reshape(20, 3)
    assert torch.equal(mirrored, ~kept)
    assert torch.equal(mirrored.all(1), mirrored.any(1))
    assert 0 < mirrored.all(1).sum() < 20


@pytest.mark.parametrize(
    ("name", "amount"), [("rotation", 20.0), ("shear", 0.3), ("scale", 0.3), ("shift", 3.0)]
)
def test_warps_differ_from_image_to_image_and_stay_in_range(name: str, amount: float) -> None:
    options = AugmentOptions(**{name: amount})  # type: ignore[arg-type]
    out = augment(blobs(), images_per_class=2, options=options, rng=np.random.default_rng(2))
    assert out.shape == (8, 1, 28, 28)
    assert out.dtype == torch.float32
    assert out.min() >= 0
    assert out.max() <= 1 + 1e-6
    assert len({image.numpy().tobytes() for image in out}) == 8
    mass = out.sum((1, 2, 3)) / 36
    assert (mass > 0.4).all()
    assert (mass < 2.2).all()


def test_a_shift_moves_by_at_most_what_is_asked_for() -> None:
    options = AugmentOptions(shift=2.0)
    out = augment(blobs(64), images_per_class=1, options=options, rng=np.random.default_rng(3))
    rows = torch.arange(28.0)
    centre = (out.sum(3)[:, 0] * rows).sum(1) / out.sum((1, 2, 3))
    moved = centre - 10.5
    assert moved.abs().max() <= 2 + 1e-3
    assert moved.std() == pytest.approx(2 / 3**0.5, rel=0.25)


@pytest.mark.parametrize("wrong", [{"rotation": -1.0}, {"scale": float("inf")}])
def test_bad_augmentation_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError, match=next(iter(wrong))):
        AugmentOptions(**wrong)  # type: ignore[arg-type]


def test_progress_outside_a_terminal_is_a_few_plain_lines() -> None:
    stream = io.StringIO()
    with show_progress(stream) as progress:
        assert isinstance(progress, LineProgress)
        for step in range(1, 1001):
            progress(
                TrainEvent(
                    step=step,
                    fraction=step / 1000,
                    loss=2.0,
                    accuracy=0.5,
                    seconds_left=100.0 - step / 10,
                    validation_accuracy=None if step < 500 else 0.75,
                )
            )
    lines = stream.getvalue().splitlines()
    assert 15 <= len(lines) <= 25
    assert lines[-1] == (
        "100%  step 1000  loss 2.000  accuracy 50.0 %  validation 75.00 %  0:00 left"
    )
    assert "validation" not in lines[0]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_in_a_terminal_is_a_bar() -> None:
    stream = _Terminal()
    with show_progress(stream) as progress:
        assert not isinstance(progress, LineProgress)
        progress(
            TrainEvent(
                step=3,
                fraction=0.5,
                loss=1.25,
                accuracy=0.5,
                seconds_left=75,
                validation_accuracy=None,
            )
        )
    shown = stream.getvalue()
    assert "step 3" in shown
    assert "loss 1.250" in shown
    assert "1:15 left" in shown


@pytest.mark.parametrize("learner", sorted(LEARNERS))
@pytest.mark.parametrize("tasks", sorted(set(SOURCES) - {"digits"}))
def test_every_learner_has_a_recipe_on_every_source_with_training_tasks(
    learner: str, tasks: str
) -> None:
    assert recipe(learner, tasks).train.validation is not None


def test_a_learner_brings_its_own_recipes_and_falls_back_to_a_generic_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = Recipe(hidden=24, train=TrainOptions(steps=7))
    monkeypatch.setattr(Prototypical, "recipes", {"omniglot": own})
    assert recipe("prototypical", "omniglot") is own
    assert recipe("prototypical", "omniglot-lake") is own  # the same data in another cut
    generic = recipe("prototypical", "glyphs")
    assert generic is recipe("prototypical", "a source of next year")
    assert generic.train.augment != recipe("anil", "omniglot").train.augment
    with pytest.raises(InvalidOptionError, match="no learner is called 'magic'"):
        recipe("magic", "omniglot")


@pytest.mark.parametrize("seconds", [math.inf, math.nan])
def test_no_estimate_yet_is_shown_as_such(seconds: float) -> None:
    stream = io.StringIO()
    with show_progress(stream) as progress:
        progress(
            TrainEvent(
                step=1,
                fraction=1.0,
                loss=0.5,
                accuracy=0.5,
                seconds_left=seconds,
                validation_accuracy=None,
            )
        )
    assert "?:?? left" in stream.getvalue()
