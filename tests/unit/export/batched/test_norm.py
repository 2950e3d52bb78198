"""Norm, scale, shift and ReLU in one: the plain operations, with derivatives of both orders."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from export.batched.norm import Norm, normalised_relu

TASKS, SETS, ROWS, CHANNELS = 2, 3, 5, 4


def plain(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, norm: Norm) -> torch.Tensor:
    runs = x.unflatten(-1, (-1, norm.run))
    centred = runs - runs.mean((2, 4), keepdim=True)
    variance = (centred**2).mean((2, 4), keepdim=True)
    normal = (centred / torch.sqrt(variance + norm.eps)).flatten(-2)
    return functional.relu(normal * scale[:, None, None] + shift[:, None, None])


def random_case() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (TASKS, SETS, ROWS, CHANNELS), (TASKS, CHANNELS), (TASKS, CHANNELS)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    ]


@pytest.mark.parametrize("norm", [Norm(1, 1e-5), Norm(2, 1e-5), Norm(4, 0.1)])
def test_value_and_derivatives_of_both_orders(norm: Norm) -> None:
    case = random_case()
    results = [function(*case, norm) for function in (normalised_relu, plain)]
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
    firsts = [torch.autograd.grad((y**2).sum(), case, create_graph=True) for y in results]
    for got, want in zip(*firsts, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    seconds = [torch.autograd.grad(sum((g**3).sum() for g in f), case) for f in firsts]  # type: ignore[misc]
    for got, want in zip(*seconds, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("run", [1, 2])
def test_finite_differences_agree(run: int) -> None:
    def normalised(*tensors: torch.Tensor) -> torch.Tensor:
        return normalised_relu(*tensors, Norm(run, 0.1))  # type: ignore[arg-type]

    case = random_case()
    assert torch.autograd.gradcheck(normalised, case)
    assert torch.autograd.gradgradcheck(normalised, case)


def test_a_third_derivative_is_refused_and_not_wrong() -> None:
    case = random_case()
    value = (normalised_relu(*case, Norm(1, 0.1)) ** 3).sum()
    (first,) = torch.autograd.grad(value, case[:1], create_graph=True)
    with pytest.raises(NotImplementedError, match="differentiable twice"):
        torch.autograd.grad((first**3).sum(), case[:1], create_graph=True)
