"""Convolutions of many tasks: those of PyTorch, one task at a time, to the second derivative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from export.task_convolutions import TaskConvolutions

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

TASKS = 3
HOW = [(1, 0), (1, 1), (2, 1), ((2, 1), (0, 1))]


def normal(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def after_a_step(stride: Any, padding: Any) -> Callable[..., Tensor]:
    """A loss behind one inner step on a kernel, as MAML has it."""

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        out = functional.conv2d(x, weight, None, stride, padding)
        return (torch.tanh(out) ** 2).mean()

    def adapted(x: Tensor, weight: Tensor) -> Tensor:
        return loss(x, weight - 0.5 * torch.func.grad(loss, 1)(x, weight))

    return adapted


@pytest.mark.parametrize(("stride", "padding"), HOW)
@pytest.mark.parametrize("own", [(True, True), (True, False), (False, True)])
def test_gradients_through_a_step_are_those_of_a_plain_loop(
    own: tuple[bool, bool], stride: Any, padding: Any
) -> None:
    images, kernels = normal(TASKS, 2, 3, 7, 6), normal(TASKS, 4, 3, 3, 3)
    x = images if own[0] else images[0]
    weight = kernels if own[1] else kernels[0]
    adapted = after_a_step(stride, padding)

    def plain(x: Tensor, weight: Tensor) -> Tensor:
        each = [
            adapted(x[i] if own[0] else x, weight[i] if own[1] else weight) for i in range(TASKS)
        ]
        return torch.stack(each).sum()

    def mapped(x: Tensor, weight: Tensor) -> Tensor:
        dims = tuple(0 if is_own else None for is_own in own)
        return torch.func.vmap(adapted, dims)(x, weight).sum()

    want = torch.func.grad_and_value(plain, (0, 1))(x, weight)
    with TaskConvolutions():
        found = torch.func.grad_and_value(mapped, (0, 1))(x, weight)
    torch.testing.assert_close(found, want, rtol=1e-11, atol=1e-13)


def test_second_derivatives_agree_with_finite_differences() -> None:
    x, weight = normal(2, 2, 5, 5).requires_grad_(), normal(3, 2, 3, 3).requires_grad_()
    bias = normal(3).requires_grad_()

    def convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with TaskConvolutions():
            return functional.conv2d(x, weight, bias, stride=2, padding=1)

    assert torch.autograd.gradcheck(convolved, (x, weight, bias))
    assert torch.autograd.gradgradcheck(convolved, (x, weight, bias))


@pytest.mark.parametrize("how", [{"groups": 2}, {"dilation": 2}, {"padding": "same"}])
def test_convolutions_of_other_kinds_are_left_as_they_are(how: dict[str, Any]) -> None:
    x, weight = normal(2, 4, 6, 6), normal(4, 4 // how.get("groups", 1), 3, 3)
    want = functional.conv2d(x, weight, **how)
    with TaskConvolutions():
        assert torch.equal(functional.conv2d(x, weight, **how), want)


def test_a_traced_graph_holds_no_dilated_or_transposed_convolution() -> None:
    adapted = after_a_step(2, 1)

    def gradient(x: Tensor, weight: Tensor) -> Tensor:
        def total(weight: Tensor) -> Tensor:
            return torch.func.vmap(adapted, (0, None))(x, weight).sum()

        found: Tensor = torch.func.grad(total)(weight)
        return found

    with TaskConvolutions():
        graph = make_fx(gradient)(normal(TASKS, 2, 3, 8, 8), normal(4, 3, 3, 3))
    aten = torch.ops.aten
    plain = [n.args for n in graph.graph.nodes if n.target is aten.convolution.default]
    backward = [n.args for n in graph.graph.nodes if n.target is aten.convolution_backward.default]
    # dilation, transposed, and as many groups as tasks
    assert {(*args[5], args[6], args[8]) for args in plain} == {(1, 1, False, TASKS)}
    assert {(*args[6], args[7], args[9]) for args in backward} == {(1, 1, False, TASKS)}
