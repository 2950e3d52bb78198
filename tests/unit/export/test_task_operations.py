"""Operations made for many tasks at once: the values and gradients of the plain loop, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn import functional

from edge_sdk.errors import InvalidOptionError
from export.backbones.convolution import conv2d
from export.backbones.normalise import normalise
from export.compiled import CompiledEpisodes
from export.episode_loss import embedded, episode_loss
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from export.objectives.query_loss import QueryLoss
from export.tasks.glyphs import GlyphOptions, GlyphTasks
from export.tasks.sampler import EpisodeOptions, EpisodeSampler
from export.train_options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Callable

TASKS = 3


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def random(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# 2 channels take the matrix product where 6 take the library's convolution; 5 and 8 leave rests
@pytest.mark.parametrize(
    ("channels", "size", "stride", "padding"), [(2, 8, 2, 1), (6, 8, 2, 1), (6, 5, 1, 0)]
)
@pytest.mark.parametrize("batched", [(True, True), (True, False), (False, True)])
def test_second_derivatives_of_the_convolution_are_those_of_the_plain_loop(
    channels: int,
    size: int,
    stride: int,
    padding: int,
    batched: tuple[bool, bool],
    generator: torch.Generator,
) -> None:
    x = random(generator, *([TASKS] if batched[0] else []), 2, channels, size, size)
    w = random(generator, *([TASKS] if batched[1] else []), 4, channels, 3, 3)
    x.requires_grad_()
    w.requires_grad_()

    def inner(convolve: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def curvature(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            def loss(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
                return (convolve(x, w, stride=stride, padding=padding) ** 3).sum()

            by_x, by_w = torch.func.grad(loss, argnums=(0, 1))(x, w)
            total: torch.Tensor = (by_x**2).sum() + (by_w**2).sum()
            return total

        return curvature

    axes = tuple(0 if is_batched else None for is_batched in batched)
    found = torch.func.vmap(inner(conv2d), in_dims=axes)(x, w).sum()
    plain = inner(functional.conv2d)
    want = torch.stack(
        [plain(x[i] if batched[0] else x, w[i] if batched[1] else w) for i in range(TASKS)]
    ).sum()
    torch.testing.assert_close(found, want, rtol=1e-12, atol=0)
    got, expected = torch.autograd.grad(found, (x, w)), torch.autograd.grad(want, (x, w))
    for one, two in zip(got, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-11)


def test_the_convolution_s_derivatives_agree_with_finite_differences(
    generator: torch.Generator,
) -> None:
    x = random(generator, 2, 3, 5, 5).requires_grad_()
    w = random(generator, 2, 3, 3, 3).requires_grad_()
    for order in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert order(lambda x, w: conv2d(x, w, stride=2, padding=1), (x, w))


@pytest.mark.parametrize("dims", [(0, 2, 3), (1, 2, 3)])
def test_normalising_gives_mean_zero_and_variance_one_and_right_derivatives(
    dims: tuple[int, ...], generator: torch.Generator
) -> None:
    x = random(generator, 2, 3, 2, 2).requires_grad_()
    y = normalise(x, dims, eps=0.0)
    torch.testing.assert_close(y.mean(dims), torch.zeros_like(y.mean(dims)))
    torch.testing.assert_close(y.var(dims, unbiased=False), torch.ones_like(y.mean(dims)))
    for order in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert order(lambda x: normalise(x, dims), (x,))


def test_normalising_under_vmap_has_the_second_derivatives_of_plain_operations(
    generator: torch.Generator,
) -> None:
    x = random(generator, TASKS, 4, 3, 2, 2).requires_grad_()

    def plain(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
        centred = x - x.mean(dims, keepdim=True)
        return centred / torch.sqrt((centred**2).mean(dims, keepdim=True) + 1e-5)

    def curvature(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        return lambda x: (
            torch.func.grad(lambda v: (function(v, (0, 2, 3)) ** 3).sum())(x) ** 2
        ).sum()

    found = torch.func.vmap(curvature(normalise))(x).sum()
    want = torch.stack([curvature(plain)(one) for one in x]).sum()
    torch.testing.assert_close(found, want, rtol=1e-11, atol=0)
    got, expected = torch.autograd.grad(found, x)[0], torch.autograd.grad(want, x)[0]
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.fixture(scope="module")
def source() -> GlyphTasks:
    return GlyphTasks(
        seed=1,
        options=GlyphOptions(train_classes=8, held_out_classes=4, writers=6, writers_per_class=4),
    )


@pytest.mark.parametrize("name", ["anil", "maml"])
def test_the_compiled_loss_and_gradient_are_the_plain_ones(name: str, source: GlyphTasks) -> None:
    sampler = EpisodeSampler(
        source.pool("train"), EpisodeOptions(ways=3, shots=1, queries=1, draws=3)
    )
    batch = sampler.draw(np.random.default_rng(0))
    learner = make_learner(name, LearnerOptions(hidden=8, ways=6, steps=1), seed=2).double()
    loss, accuracy = episode_loss(learner, batch)
    want = torch.autograd.grad(loss, list(learner.parameters()))
    # traced and run as it is: what the C++ compiler makes of it is not under test here; 2 + 1
    # episodes, so that parts of different sizes add up
    compiled = CompiledEpisodes(backend=None, chunk=2)
    truth = torch.from_numpy(batch.query_y)
    found = compiled(learner, batch.ways, *embedded(learner, batch), truth)
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    assert found.accuracy == pytest.approx(accuracy.item())
    got = torch.autograd.grad(found.surrogate, list(learner.parameters()))
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_the_trainer_takes_the_compiled_loss_where_it_is_asked_to(
    source: GlyphTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = EpisodeOptions(ways=3, queries=1, draws=2)
    learner = make_learner("prototypical", LearnerOptions(hidden=8, ways=6), seed=2)
    backends: list[str] = []

    def compile_eagerly(graph: torch.fx.GraphModule, **options: object) -> torch.fx.GraphModule:
        backends.append(str(options["backend"]))
        return graph

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    pool = source.pool("train")
    plain = QueryLoss(pool, TrainOptions(episodes=episodes))
    compiled = QueryLoss(pool, TrainOptions(episodes=episodes, compile=True))
    losses = [o.measure(learner, np.random.default_rng(1), 0.0).shown for o in (plain, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert backends == ["inductor"]


def test_deep_supervision_is_not_compiled() -> None:
    with pytest.raises(InvalidOptionError, match="leave one of them out"):
        TrainOptions(compile=True, deep_supervision=0.5)
