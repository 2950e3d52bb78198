"""What the outer loop lowers: query loss, Reptile's surrogate, supervised pre-training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn import functional

from edge_sdk.errors import InvalidOptionError
from export.augment import AugmentOptions
from export.learners.adaptation import predict_mean
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from export.learners.reptile import Reptile as ReptileLearner
from export.learners.whole_network import WholeNetwork
from export.objectives.pretrain import Pretrain
from export.objectives.query_loss import QueryLoss, step_weights
from export.objectives.registry import make_objective
from export.objectives.reptile import Reptile
from export.tasks.glyphs import GlyphOptions, GlyphTasks
from export.tasks.sampler import EpisodeOptions
from export.train import train
from export.train_options import TrainOptions

if TYPE_CHECKING:
    from pathlib import Path

    from export.learners.base import Learner
    from export.progress import TrainEvent
    from export.tasks.base import ImagePool

OPTIONS = TrainOptions(
    seed=5,
    steps=4,
    episodes=EpisodeOptions(ways=3, shots=1, queries=3, draws=2),
    batch_size=12,
    checkpoint_every=1,
)


@pytest.fixture(scope="module")
def source() -> GlyphTasks:
    return GlyphTasks(
        seed=1,
        options=GlyphOptions(train_classes=12, held_out_classes=6, writers=8, writers_per_class=6),
    )


@pytest.fixture(scope="module")
def pool(source: GlyphTasks) -> ImagePool:
    return source.pool("train")


def learner_of(name: str, **settings: float) -> Learner:
    options = LearnerOptions(hidden=8, ways=6, steps=3, settings=settings)
    return make_learner(name, options, seed=2).double()


def gradients(learner: Learner, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    named = dict(learner.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=False)
    return dict(zip(named, found, strict=True))


def test_the_reptile_gradient_is_the_mean_way_from_adapted_to_start(pool: ImagePool) -> None:
    learner = learner_of("reptile", rate=0.05)
    objective = Reptile(pool, OPTIONS)
    found = objective.measure(learner, objective.draw(np.random.default_rng(3)), 0.0)
    batch, images = objective.draw(np.random.default_rng(3))
    mean_way: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for support, query in zip(batch.support, batch.query, strict=True):
            # minibatch i: image i of every class, the support image first
            rows = np.concatenate([support.reshape(3, 1), query.reshape(3, 3)], axis=1)
            start = state = learner.init(3)
            for i in range(learner.steps):
                x = images[torch.from_numpy(rows[:, i])].double()
                state, _ = learner.adapt(state, x, torch.arange(3), torch.ones(3).double())
            for name, tensor in start.items():
                mean_way[name] = mean_way.get(name, 0) + (tensor - state[name]) / len(batch.support)
    got = gradients(learner, found.loss)
    assert isinstance(learner, WholeNetwork)
    for i, name in enumerate(learner.names):
        torch.testing.assert_close(
            got[f"backbone.body.{i}"], mean_way[name], rtol=1e-10, atol=1e-13
        )
    # all rows of the head start as one vector
    torch.testing.assert_close(got["head_row"], mean_way["head.weight"].sum(0))


def test_reptile_reports_the_loss_on_the_minibatch_that_would_come_next(pool: ImagePool) -> None:
    learner = learner_of("reptile", rate=0.0001)
    objective = Reptile(pool, OPTIONS)
    found = objective.measure(learner, objective.draw(np.random.default_rng(0)), 0.0)
    assert found.shown == pytest.approx(np.log(3), abs=0.01)  # it has learned next to nothing
    assert 0 <= found.accuracy <= 1


def test_pretraining_tells_all_training_classes_and_their_mirror_images_apart(
    pool: ImagePool,
) -> None:
    learner = learner_of("linear_probe")
    mirrored = replace(OPTIONS, augment=AugmentOptions(mirror=True))
    assert Pretrain(pool, OPTIONS, learner, seed=0).classifier.shape == (12, 32)
    objective = Pretrain(pool, mirrored, learner, seed=0)
    assert objective.classifier.shape == (24, 32)
    optimizer = torch.optim.Adam([*learner.parameters(), *objective.parameters()], lr=1e-2)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(150):
        found = objective.measure(learner, objective.draw(rng), 0.0)
        optimizer.zero_grad()
        found.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(found.shown)
    assert losses[0] == pytest.approx(np.log(24), rel=0.5)
    # an image and its mirror image cannot both be right unless they are classes of their own
    assert np.mean(losses[-20:]) < 0.5 * np.log(24)


def test_pretraining_is_cross_entropy_on_the_pool_s_classes(pool: ImagePool) -> None:
    learner = learner_of("full_finetune")
    objective = Pretrain(pool, OPTIONS, learner, seed=4)
    found = objective.measure(learner, objective.draw(np.random.default_rng(7)), 0.0)
    rows = np.random.default_rng(7).integers(len(pool.images), size=12)
    x = torch.from_numpy(pool.images[rows] / np.float32(255))[:, None].double()
    z = functional.normalize(learner.represent(x), dim=-1)
    w = functional.normalize(objective.classifier, dim=-1)
    want = functional.cross_entropy(10 * z @ w.T, torch.from_numpy(pool.classes[rows]))
    torch.testing.assert_close(found.loss, want)
    assert set(gradients(learner, found.loss)) == {n for n, _ in learner.named_parameters()}


def test_deep_supervision_starts_with_all_steps_alike_and_ends_with_the_last_alone() -> None:
    torch.testing.assert_close(step_weights(4, 0.0), torch.full((4,), 0.25))
    torch.testing.assert_close(step_weights(4, 1.0), torch.tensor([0.0, 0, 0, 1]))
    torch.testing.assert_close(step_weights(4, 0.5).sum(), torch.tensor(1.0))


def test_deep_supervision_is_the_weighted_loss_after_every_step(pool: ImagePool) -> None:
    deep = QueryLoss(pool, replace(OPTIONS, deep_supervision=0.5))
    learner = learner_of("anil")

    def loss_after(steps: int) -> float:
        options = LearnerOptions(hidden=8, ways=6, steps=steps)
        other = make_learner("anil", options, seed=0).double()
        other.load_state_dict(learner.state_dict())
        plain = QueryLoss(pool, OPTIONS)
        return plain.measure(other, plain.draw(np.random.default_rng(1)), 0.0).shown

    weights = step_weights(3, 0.2 / 0.5).tolist()
    want = sum(w * loss_after(k + 1) for k, w in enumerate(weights))
    found = deep.measure(learner, deep.draw(np.random.default_rng(1)), 0.2)
    assert found.loss.item() == pytest.approx(want, rel=1e-6)
    assert found.shown == pytest.approx(loss_after(3), rel=1e-9)  # people see the last step's
    late = deep.measure(learner, deep.draw(np.random.default_rng(1)), 0.5)
    assert late.shown == pytest.approx(loss_after(3), rel=1e-9)


def test_first_order_keeps_the_value_and_drops_the_second_derivatives(pool: ImagePool) -> None:
    exact, cheap = learner_of("maml"), learner_of("maml", first_order=1)
    objective = QueryLoss(pool, OPTIONS)
    one = objective.measure(exact, objective.draw(np.random.default_rng(1)), 0.0)
    two = objective.measure(cheap, objective.draw(np.random.default_rng(1)), 0.0)
    assert one.shown == pytest.approx(two.shown, rel=1e-12)
    got, exact_gradient = gradients(cheap, two.loss), gradients(exact, one.loss)
    assert not torch.allclose(got["backbone.body.0"], exact_gradient["backbone.body.0"], rtol=1e-3)
    # first order: the gradient at the adapted weights, as if they were where training starts
    batch, images = objective.draw(np.random.default_rng(1))
    total = torch.zeros_like(got["backbone.body.0"])
    for i in range(len(batch.support)):
        with torch.no_grad():
            state = cheap.init(3)
            for _ in range(cheap.steps):
                x = images[torch.from_numpy(batch.support[i])].double()
                y = torch.from_numpy(batch.support_y[i])
                state, _ = cheap.adapt(state, x, y, torch.ones(len(y)).double())
        state = {n: t.detach().requires_grad_() for n, t in state.items()}
        query = images[torch.from_numpy(batch.query[i])].double()
        truth = torch.from_numpy(batch.query_y[i])
        loss = functional.cross_entropy(predict_mean(cheap, state, query), truth)
        total += torch.autograd.grad(loss, state["conv0.weight"])[0] / len(batch.support)
    torch.testing.assert_close(got["backbone.body.0"], total, rtol=1e-10, atol=1e-13)


class _StoppedError(Exception):
    """Stands for whatever ends a process between two steps."""


@pytest.mark.parametrize("name", ["reptile", "linear_probe", "full_finetune"])
def test_every_objective_resumes_where_it_stopped(
    name: str, source: GlyphTasks, tmp_path: Path
) -> None:
    undisturbed = learner_of(name).float()
    whole = train(undisturbed, source, OPTIONS)

    def stop(event: TrainEvent) -> None:
        if event.step == 2:
            raise _StoppedError

    path = tmp_path / "run.pt"
    with pytest.raises(_StoppedError):
        train(learner_of(name).float(), source, OPTIONS, checkpoint=path, progress=stop)
    resumed = learner_of(name).float()
    assert train(resumed, source, OPTIONS, checkpoint=path).losses == whole.losses
    for key, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key


def test_an_unknown_objective_is_refused_with_the_known_ones(
    pool: ImagePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReptileLearner, "objective", "magic")
    with pytest.raises(InvalidOptionError, match="there are query_loss, reptile, pretrain"):
        make_objective(learner_of("reptile"), pool, OPTIONS)


def test_deep_supervision_beyond_the_run_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"deep_supervision must be in 0\.\.1"):
        TrainOptions(deep_supervision=1.5)


@pytest.mark.parametrize("changed", [{"compile": True}, {"deep_supervision": 0.5}])
def test_options_of_the_query_loss_are_refused_elsewhere(
    changed: dict[str, float], pool: ImagePool
) -> None:
    with pytest.raises(InvalidOptionError, match="are for query_loss, not for reptile"):
        make_objective(learner_of("reptile"), pool, replace(OPTIONS, **changed))  # type: ignore[arg-type]
