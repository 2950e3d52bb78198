"""The trainer: repeatable, resumable, stops when told; its vectorised loss is the plain one."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn import functional

from edge_sdk.errors import DivergedError, InvalidOptionError
from export.augment import AugmentOptions
from export.checkpoint import CheckpointError, read_checkpoint
from export.episode_loss import episode_loss
from export.learners.adaptation import adapt_all, predict_mean
from export.learners.base import LearnerOptions
from export.learners.registry import LEARNERS, make_learner
from export.tasks.base import NoSuchSplitError
from export.tasks.digits import DigitTasks
from export.tasks.glyphs import GlyphOptions, GlyphTasks
from export.tasks.sampler import EpisodeOptions, EpisodeSampler
from export.train import train
from export.train_options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from export.learners.base import Learner
    from export.progress import TrainEvent

NAMES = sorted(LEARNERS)
OPTIONS = TrainOptions(
    seed=5,
    steps=6,
    episodes=EpisodeOptions(ways=4, queries=2, draws=2),
    augment=AugmentOptions(rotation=5, shift=1, mirror=True),
    outer_lr=3e-3,
    validation=EpisodeOptions(ways=4, queries=2, draws=2),
    validation_batches=2,
    validate_every=2,
    checkpoint_every=1,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def source() -> GlyphTasks:
    return GlyphTasks(
        seed=1,
        options=GlyphOptions(train_classes=20, held_out_classes=8, writers=10, writers_per_class=6),
    )


def learner_of(name: str, *, seed: int = 2) -> Learner:
    return make_learner(name, LearnerOptions(hidden=8, ways=6, steps=2), seed=seed)


def weights_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.state_dict().items()}


def assert_same_weights(first: Learner, second: Learner) -> None:
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_weights_and_other_seed_others(name: str, source: GlyphTasks) -> None:
    first, again, other = (learner_of(name) for _ in range(3))
    report = train(first, source, OPTIONS)
    torch.rand(3)  # the global generator plays no part
    assert train(again, source, OPTIONS).losses == report.losses
    assert_same_weights(first, again)
    assert train(other, source, replace(OPTIONS, seed=6)).losses != report.losses


@pytest.mark.parametrize("name", ["prototypical", "maml", "linear_probe"])
def test_data_drawn_in_the_background_changes_no_bit(
    name: str, source: GlyphTasks, tmp_path: Path
) -> None:
    ahead, waiting = learner_of(name), learner_of(name)
    files = tmp_path / "ahead.pt", tmp_path / "waiting.pt"
    report = train(ahead, source, OPTIONS, checkpoint=files[0], clock=lambda: 0.0)
    again = train(
        waiting, source, OPTIONS, checkpoint=files[1], clock=lambda: 0.0, background=False
    )
    assert report == again
    assert_same_weights(ahead, waiting)
    # the generator's state among them: of the last step's draw, not of one made ahead
    assert read_checkpoint(files[0]).rng == read_checkpoint(files[1]).rng


def test_training_leaves_the_global_generators_alone(source: GlyphTasks) -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train(learner_of("prototypical"), source, OPTIONS)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_vectorised_loss_is_that_of_a_plain_loop(
    name: str, symmetric: bool, source: GlyphTasks
) -> None:
    options = EpisodeOptions(ways=4, queries=2, draws=3, symmetric=symmetric)
    batch = EpisodeSampler(source.pool("train"), options).draw(np.random.default_rng(0))
    learner = learner_of(name).double()
    plain_learner = copy.deepcopy(learner)
    loss, accuracy = episode_loss(learner, batch)
    loss.backward()
    features = plain_learner.embed(torch.from_numpy(batch.images).double())
    losses, hits = [], []
    for i in range(len(batch.support)):
        support = features[torch.from_numpy(batch.support[i])]
        labels = torch.from_numpy(batch.support_y[i])
        weights = torch.ones(len(labels)).double()
        state = plain_learner.init(batch.ways)
        state, _ = adapt_all(plain_learner, state, support, labels, weights)
        query = features[torch.from_numpy(batch.query[i])]
        logits = predict_mean(plain_learner, state, query)
        truth = torch.from_numpy(batch.query_y[i])
        losses.append(functional.cross_entropy(logits, truth))
        hits.append((logits.argmax(-1) == truth).double().mean())
    plain = torch.stack(losses).mean()
    plain.backward()
    torch.testing.assert_close(loss, plain, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(accuracy, torch.stack(hits).mean())
    for (key, one), two in zip(learner.named_parameters(), plain_learner.parameters(), strict=True):
        assert one.grad is not None, key
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-10, atol=1e-10)


def test_training_helps(source: GlyphTasks) -> None:
    learner = learner_of("prototypical")
    report = train(learner, source, replace(OPTIONS, steps=60, outer_lr=1e-2, validate_every=60))
    assert np.mean(report.losses[-10:]) < 0.7 * np.mean(report.losses[:10])


class _StoppedError(Exception):
    """Stands for whatever ends a process between two steps."""


@pytest.mark.parametrize("name", ["prototypical", "maml"])
@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_resumed_run_ends_as_an_undisturbed_one(
    name: str, at: int, source: GlyphTasks, tmp_path: Path
) -> None:
    undisturbed = learner_of(name)
    whole = train(undisturbed, source, OPTIONS)

    def stop(event: TrainEvent) -> None:
        if event.step == at:
            raise _StoppedError

    path = tmp_path / "run.pt"
    with pytest.raises(_StoppedError):
        train(learner_of(name), source, OPTIONS, checkpoint=path, progress=stop)
    resumed = learner_of(name, seed=77)  # its first weights must not matter
    report = train(resumed, source, OPTIONS, checkpoint=path)
    assert_same_weights(resumed, undisturbed)
    assert report.losses == whole.losses
    assert report.validations == whole.validations
    assert report.best == whole.best
    assert report.steps == 6


def test_a_finished_run_is_not_run_again(source: GlyphTasks, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    learner, again = learner_of("anil"), learner_of("anil", seed=9)
    report = train(learner, source, OPTIONS, checkpoint=path)
    content = path.read_bytes()
    repeated = train(again, source, OPTIONS, checkpoint=path)
    assert repeated.stopped_by == report.stopped_by == "steps"
    assert path.read_bytes() == content
    assert_same_weights(learner, again)


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"outer_lr": 1e-4}, "outer_lr"), ({"steps": 7}, "steps"), ({"seed": 6}, "seed")],
)
def test_a_checkpoint_of_another_run_is_refused(
    changed: dict[str, float], named: str, source: GlyphTasks, tmp_path: Path
) -> None:
    path = tmp_path / "run.pt"
    train(learner_of("anil"), source, replace(OPTIONS, steps=1), checkpoint=path)
    content = path.read_bytes()
    options = replace(OPTIONS, **{"steps": 1, **changed})  # type: ignore[arg-type]
    learner = learner_of("anil")
    before = weights_of(learner)
    with pytest.raises(CheckpointError, match=f"another run: {named} differ"):
        train(learner, source, options, checkpoint=path)
    assert path.read_bytes() == content
    for key, tensor in learner.state_dict().items():
        assert torch.equal(tensor, before[key])


def test_another_learner_or_other_data_is_another_run(source: GlyphTasks, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    options = replace(OPTIONS, steps=1)
    train(learner_of("anil"), source, options, checkpoint=path)
    with pytest.raises(CheckpointError, match="learner"):
        train(learner_of("prototypical"), source, options, checkpoint=path)
    other = GlyphTasks(seed=2, options=source.options)
    with pytest.raises(CheckpointError, match="tasks_digest"):
        train(learner_of("anil"), other, options, checkpoint=path)


def test_early_stop_keeps_the_best_weights(source: GlyphTasks) -> None:
    # a huge rate: what follows the first validations is worse than they are
    options = replace(OPTIONS, steps=60, outer_lr=3.0, validate_every=1, patience=2)
    learner = learner_of("prototypical")
    after: dict[int, dict[str, torch.Tensor]] = {}

    def remember(event: TrainEvent) -> None:
        after[event.step] = weights_of(learner)

    report = train(learner, source, options, progress=remember)
    assert report.stopped_by == "patience"
    assert report.best is not None
    best = report.validations.index(report.best)
    assert report.best.accuracy == max(v.accuracy for v in report.validations)
    assert len(report.validations) == best + 1 + 2 == report.steps < 60
    for key, tensor in learner.state_dict().items():
        assert torch.equal(tensor, after[report.best.step][key])
    assert not all(torch.equal(t, after[report.steps][k]) for k, t in learner.state_dict().items())


def test_a_minutes_budget_ends_by_the_clock(source: GlyphTasks) -> None:
    now = iter(np.arange(0.0, 1000.0, 0.5).tolist())
    events: list[TrainEvent] = []
    options = replace(OPTIONS, minutes=0.1, validation=None)
    report = train(
        learner_of("prototypical"),
        source,
        options,
        clock=lambda: next(now),
        progress=events.append,
    )
    assert report.stopped_by == "minutes"
    assert 1 < report.steps < 12
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_a_step_that_is_not_finite_is_refused(source: GlyphTasks) -> None:
    learner = learner_of("maml")
    with torch.no_grad():
        learner.get_parameter("head_row").fill_(float("nan"))
    with pytest.raises(DivergedError, match="step 0"):
        train(learner, source, OPTIONS)


def test_a_source_without_a_training_split_is_refused() -> None:
    with pytest.raises(NoSuchSplitError):
        train(learner_of("prototypical"), DigitTasks(), OPTIONS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"seed": -1},
        {"outer_lr": 0.0},
        {"outer_lr": float("nan")},
        {"gradient_norm": -1.0},
        {"minutes": 0.0},
        {"patience": 0},
        {"validate_every": 0},
    ],
)
def test_bad_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError, match=next(iter(wrong))):
        TrainOptions(**wrong)  # type: ignore[arg-type]
