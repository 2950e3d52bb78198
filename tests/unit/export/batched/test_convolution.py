"""Convolutions of many tasks: PyTorch's own, task by task, with derivatives of both orders."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from edge_sdk.errors import InvalidOptionError
from export.batched.convolution import convolve

TASKS, IMAGES, CHANNELS, OUT = 2, 2, 2, 3


def random_case(
    size: tuple[int, int], kernel: int, *, shared: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)

    x = tensor(TASKS, IMAGES, *size, CHANNELS)
    return x, tensor(1 if shared else TASKS, OUT, kernel, kernel, CHANNELS)


def task_by_task(x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
    images, kernels = x.movedim(-1, 2), weight.movedim(-1, 2)
    found = [
        functional.conv2d(images[i], kernels[i], stride=stride, padding=padding)
        for i in range(TASKS)
    ]
    return torch.stack(found).movedim(2, -1)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [((4, 4), 3, 2, 1), ((5, 4), 3, 2, 1), ((5, 6), 3, 1, 1), ((5, 5), 2, 2, 0), ((6, 5), 3, 3, 1)],
)
def test_value_and_derivatives_of_both_orders(
    size: tuple[int, int], kernel: int, stride: int, padding: int, *, shared: bool
) -> None:
    x, weight = random_case(size, kernel, shared=shared)
    expanded = weight.expand(TASKS, *weight.shape[1:])
    mine = convolve(x, expanded, stride=stride, padding=padding)
    plain = task_by_task(x, expanded, stride, padding)
    torch.testing.assert_close(mine, plain, rtol=1e-12, atol=1e-12)
    firsts = [
        torch.autograd.grad((y**2).sum(), (x, weight), create_graph=True) for y in (mine, plain)
    ]
    for got, want in zip(*firsts, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    seconds = [torch.autograd.grad(sum((g**3).sum() for g in f), (x, weight)) for f in firsts]  # type: ignore[misc]
    for got, want in zip(*seconds, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-9)


def test_finite_differences_agree() -> None:
    x, weight = random_case((4, 4), 3, shared=False)

    def convolved(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return convolve(x, weight, stride=2, padding=1)

    assert torch.autograd.gradcheck(convolved, (x, weight))
    assert torch.autograd.gradgradcheck(convolved, (x, weight))


@pytest.mark.parametrize("padding", [0, 1])
def test_images_may_be_a_view(padding: int) -> None:
    x, weight = random_case((5, 4), 3, shared=False)
    view = x.detach().movedim(-1, 2).contiguous().movedim(2, -1).requires_grad_()
    assert not view.is_contiguous()
    found = convolve(view, weight, stride=1, padding=padding)
    torch.testing.assert_close(found, task_by_task(x, weight, 1, padding), rtol=1e-12, atol=1e-12)
    (got,) = torch.autograd.grad((found**2).sum(), view)
    (want,) = torch.autograd.grad((task_by_task(x, weight, 1, padding) ** 2).sum(), x)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_a_stride_beyond_the_kernel_is_refused() -> None:
    x, weight = random_case((5, 5), 2, shared=False)
    with pytest.raises(InvalidOptionError, match="at most the kernel's size 2, got 3"):
        convolve(x, weight, stride=3, padding=0)
