"""Learners that compute many tasks at once: what the plain loop over tasks computes, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn import functional

from export.compiled import EpisodesInParts
from export.episode_loss import embedded, mapped_logits_by_step, mapped_predictions
from export.learners.adaptation import adapt_all
from export.learners.base import Learner, LearnerOptions
from export.learners.many_tasks import ManyTasks
from export.learners.registry import LEARNERS, make_learner
from export.objectives.query_loss import QueryLoss
from export.tasks.glyphs import GlyphOptions, GlyphTasks
from export.tasks.sampler import EpisodeOptions, EpisodeSampler
from export.train_options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from export.tasks.base import EpisodeBatch

NAMES = sorted(name for name, learner in LEARNERS.items() if issubclass(learner, ManyTasks))
DIFFERENCE = 1e-5


@pytest.fixture(scope="module")
def source() -> GlyphTasks:
    options = GlyphOptions(train_classes=8, held_out_classes=4, writers=6, writers_per_class=4)
    return GlyphTasks(seed=1, options=options)


def drawn(source: GlyphTasks, **options: int) -> EpisodeBatch:
    episodes = EpisodeOptions(**{"ways": 3, "queries": 1, "draws": 3, **options})
    return EpisodeSampler(source.pool("train"), episodes).draw(np.random.default_rng(0))


def made(name: str, steps: int, **settings: int) -> Learner:
    options = LearnerOptions(hidden=8, ways=6, steps=steps, settings=settings)
    learner = make_learner(name, options, seed=2).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # away from a start at which much is 0
        for parameter in learner.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(0.1 * noise)
    return learner


def plain_loss(learner: Learner, batch: EpisodeBatch) -> Tensor:
    """One episode after another, by `adapt` and `predict`."""
    support, labels, query = embedded(learner, batch)
    losses = []
    for i in range(len(support)):
        weights = support.new_ones(support.shape[1])
        state, _ = adapt_all(learner, learner.init(batch.ways), support[i], labels[i], weights)
        truth = torch.from_numpy(batch.query_y[i])
        logits = learner.predict(state, query[i])
        assert isinstance(logits, torch.Tensor)
        losses.append(functional.cross_entropy(logits, truth))
    return torch.stack(losses).mean()


def gradient(loss: Tensor, learner: Learner) -> Tensor:
    found = torch.autograd.grad(
        loss, list(learner.parameters()), allow_unused=True, materialize_grads=True
    )
    return torch.cat([tensor.flatten() for tensor in found])


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("name", NAMES)
def test_the_meta_gradient_is_that_of_the_plain_loop(
    name: str, steps: int, source: GlyphTasks
) -> None:
    learner, batch = made(name, steps), drawn(source)
    want = plain_loss(learner, batch)
    parts = EpisodesInParts("plain", chunk=2)
    found = parts(learner, batch.ways, *embedded(learner, batch), torch.from_numpy(batch.query_y))
    assert found.loss == pytest.approx(want.item(), rel=1e-12)
    a, b = gradient(found.surrogate, learner), gradient(want, learner)
    assert torch.linalg.vector_norm(a - b) <= 1e-10 * torch.linalg.vector_norm(b)


@pytest.mark.parametrize("steps", [1, 5])
def test_the_meta_gradient_is_the_slope_of_the_loss(steps: int, source: GlyphTasks) -> None:
    learner, batch = made("maml", steps), drawn(source)
    loss = EpisodesInParts("plain", chunk=2)
    inputs = (*embedded(learner, batch), torch.from_numpy(batch.query_y))
    slope = gradient(loss(learner, batch.ways, *inputs).surrogate, learner)
    generator = torch.Generator().manual_seed(4)
    way = torch.randn(slope.shape, generator=generator, dtype=slope.dtype)
    way /= torch.linalg.vector_norm(way)
    start = torch.nn.utils.parameters_to_vector(learner.parameters()).detach()

    def loss_at(step: float) -> float:
        torch.nn.utils.vector_to_parameters(start + step * way, learner.parameters())
        return loss(learner, batch.ways, *inputs).loss

    # the difference of the loss keeps 10 digits, and what the third derivative adds is less
    want = (loss_at(DIFFERENCE) - loss_at(-DIFFERENCE)) / (2 * DIFFERENCE)
    assert float(slope @ way) == pytest.approx(want, rel=1e-6, abs=1e-9)


def test_first_order_leaves_out_the_second_derivatives(source: GlyphTasks) -> None:
    batch = drawn(source)
    gradients = []
    for first_order in (0, 1):
        learner = made("maml", 2, first_order=first_order)
        logits, _ = mapped_predictions(learner, batch.ways, *embedded(learner, batch))
        truth = torch.from_numpy(batch.query_y)
        loss = functional.cross_entropy(logits.flatten(0, 1), truth.flatten())
        gradients.append(gradient(loss, learner))
        want = gradient(plain_loss(learner, batch), learner)
        torch.testing.assert_close(gradients[-1], want, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(*gradients, rtol=1e-3)


def test_logits_after_each_step_and_without_gradients(source: GlyphTasks) -> None:
    learner, batch = made("meta_sgd", 3), drawn(source, shots=2)
    inputs = embedded(learner, batch)
    by_step = mapped_logits_by_step(learner, batch.ways, *inputs)
    assert len(by_step) == 3
    with torch.no_grad():
        last, _ = mapped_predictions(learner, batch.ways, *inputs)
    assert not last.requires_grad
    torch.testing.assert_close(by_step[-1].detach(), last, rtol=0, atol=1e-12)
    assert not torch.allclose(by_step[0], by_step[1])


def test_the_trainer_takes_this_way_for_episodes_of_mixed_shapes(
    source: GlyphTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = EpisodeOptions(ways=2, queries=1, draws=2, max_ways=4, max_shots=2)
    objective = QueryLoss(source.pool("train"), TrainOptions(episodes=episodes))
    learner = made("maml", 2).float()
    rng = np.random.default_rng(5)
    shapes: set[tuple[int, ...]] = set()
    of_tasks: Callable[..., Tensor] = learner.predict_tasks  # type: ignore[operator]

    def noted(state: dict[str, Tensor], features: Tensor) -> Tensor:
        shapes.add(tuple(features.shape[:2]))
        return of_tasks(state, features)

    monkeypatch.setattr(learner, "predict_tasks", noted)
    for _ in range(6):
        draw = objective.draw(rng)
        found = objective.measure(learner, draw, 0.0)
        with torch.no_grad():
            want = plain_loss(learner, draw[0])
        assert found.shown == pytest.approx(want.item(), rel=1e-4)
        assert found.loss.requires_grad
    assert len(shapes) > 2
