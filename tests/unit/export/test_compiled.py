"""The compiled query loss: the value and the gradient of the plain one, exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_sdk.errors import InvalidOptionError
from export.compiled import EpisodesInParts
from export.episode_loss import embedded, episode_loss
from export.learners.base import LearnerOptions
from export.learners.registry import LEARNERS, make_learner
from export.objectives.query_loss import QueryLoss
from export.tasks.glyphs import GlyphOptions, GlyphTasks
from export.tasks.sampler import EpisodeOptions, EpisodeSampler
from export.train_options import TrainOptions


@pytest.fixture(scope="module")
def source() -> GlyphTasks:
    return GlyphTasks(
        seed=1,
        options=GlyphOptions(train_classes=8, held_out_classes=4, writers=6, writers_per_class=4),
    )


GRADIENT_LEARNERS = sorted(
    name
    for name, learner in LEARNERS.items()
    if learner.adaptation == "gradient" and learner.objective == QueryLoss.name
)


@pytest.mark.parametrize("name", GRADIENT_LEARNERS)
def test_the_compiled_loss_and_gradient_are_the_plain_ones(name: str, source: GlyphTasks) -> None:
    sampler = EpisodeSampler(
        source.pool("train"), EpisodeOptions(ways=3, shots=1, queries=1, draws=4)
    )
    batch = sampler.draw(np.random.default_rng(0))
    learner = make_learner(name, LearnerOptions(hidden=8, ways=6, steps=2), seed=2).double()
    loss, accuracy = episode_loss(learner, batch)
    want = torch.autograd.grad(loss, list(learner.parameters()))
    # traced and run as it is: what the C++ compiler makes of it is not under test here
    compiled = EpisodesInParts("traced", chunk=2)
    truth = torch.from_numpy(batch.query_y)
    found = compiled(learner, batch.ways, *embedded(learner, batch), truth)
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    assert found.accuracy == pytest.approx(accuracy.item())
    got = torch.autograd.grad(found.surrogate, list(learner.parameters()))
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_another_learner_of_the_same_shapes_is_traced_anew(source: GlyphTasks) -> None:
    sampler = EpisodeSampler(source.pool("train"), EpisodeOptions(ways=3, queries=1, draws=2))
    batch = sampler.draw(np.random.default_rng(0))
    truth = torch.from_numpy(batch.query_y)
    compiled = EpisodesInParts("traced")
    for steps in (1, 2):  # what is traced, but none of the parameters
        learner = make_learner("linear_probe", LearnerOptions(hidden=8, steps=steps), seed=2)
        found = compiled(learner, batch.ways, *embedded(learner, batch), truth)
        assert found.loss == pytest.approx(episode_loss(learner, batch)[0].item(), rel=1e-5)


def test_the_trainer_takes_the_compiled_loss_where_it_is_asked_to(
    source: GlyphTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = EpisodeOptions(ways=3, queries=1, draws=2)
    learner = make_learner("prototypical", LearnerOptions(hidden=8, ways=6), seed=2)
    compiled_graphs: list[torch.fx.GraphModule] = []

    def compile_eagerly(graph: torch.fx.GraphModule, **_options: object) -> torch.fx.GraphModule:
        compiled_graphs.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    pool = source.pool("train")
    plain = QueryLoss(pool, TrainOptions(episodes=episodes))
    compiled = QueryLoss(pool, TrainOptions(episodes=episodes, compile=True))
    losses = [
        o.measure(learner, o.draw(np.random.default_rng(1)), 0.0).shown for o in (plain, compiled)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert len(compiled_graphs) == 1


def test_deep_supervision_is_not_compiled() -> None:
    with pytest.raises(InvalidOptionError, match="leave one of them out"):
        TrainOptions(compile=True, deep_supervision=0.5)


@pytest.mark.parametrize("mixed", [{"max_ways": 7}, {"max_shots": 2}])
def test_episodes_of_many_shapes_are_not_compiled(mixed: dict[str, int]) -> None:
    episodes = EpisodeOptions(ways=5, **mixed)  # type: ignore[arg-type]
    assert not TrainOptions(episodes=episodes).compile
    with pytest.raises(InvalidOptionError, match="leave compile out, or max_ways and max_shots"):
        TrainOptions(compile=True, episodes=episodes)
    TrainOptions(compile=True, episodes=EpisodeOptions(ways=5, max_ways=5))
