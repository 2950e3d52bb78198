"""Convolutions of many tasks, each with weights of its own, whose derivatives are convolutions too.

The triple product <g, conv(x, w)> is linear in each of its three operands, and a convolution, the
gradient of its input and that of its weight are its derivatives by g, by x and by w. So each
derivative of one of the three is another one of them, to any order. PyTorch's own formula for the
second derivative makes dilated convolutions with one group a channel instead, which take several
times as long. `torch.func.vmap` puts the tasks into the groups of one convolution with channels
last, the layout in which the kernels of oneDNN are fastest, and in which nothing is copied between
two of them.

For graphs that are traced and compiled (`export.compiled`): in eager mode what lies between the
convolutions costs more than the better layout gains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

aten = torch.ops.aten

How = tuple[list[int], list[int], int]
"""Stride, padding and groups."""


class TaskConvolutions(TorchFunctionMode):
    """While it is on, `functional.conv2d` is built of the three functions of this file.

    Convolutions that have groups or are dilated are left as they are.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Stand in for one function."""
        if func is functional.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(  # the signature of functional.conv2d
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    if groups != 1 or _pair(dilation) != [1, 1] or isinstance(padding, str) or x.dim() != 4:
        return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    out = _apply(_Convolution, x, weight, (_pair(stride), _pair(padding), 1))
    return out if bias is None else out + bias[:, None, None]


class _Convolution(torch.autograd.Function):
    """x `[n, groups * c, h, w]`, w `[groups * o, c, kh, kw]` -> `[n, groups * o, oh, ow]`."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, how: How) -> Tensor:
        stride, padding, groups = how
        return cast(
            "Tensor",
            aten.convolution.default(
                _last(x), _last(weight), None, stride, padding, [1, 1], False, [0, 0], groups
            ),
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        *operands, ctx.how = inputs
        ctx.save_for_backward(*operands)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x, by_weight, _ = ctx.needs_input_grad
        return (
            _apply(_InputGradient, grad, weight, tuple(x.shape), ctx.how) if by_x else None,
            _apply(_WeightGradient, grad, x, tuple(weight.shape), ctx.how) if by_weight else None,
            None,
        )

    @staticmethod
    def vmap(info: Any, dims: tuple[Any, ...], x: Tensor, weight: Tensor, how: How) -> Any:
        tasks = info.batch_size
        x, weight = _in_channels(x, dims[0], tasks), _in_rows(weight, dims[1], tasks)
        out = _apply(_Convolution, x, weight, _for_tasks(how, tasks))
        return torch.unflatten(out, 1, (tasks, -1)), 1


class _InputGradient(torch.autograd.Function):
    """The gradient of `_Convolution` by its input, from that of its output and the weight."""

    @staticmethod
    def forward(grad: Tensor, weight: Tensor, shape: tuple[int, ...], how: How) -> Tensor:
        x = _unread(grad, shape)
        return _gradients(grad, x, _last(weight), how, by_x=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        *operands, ctx.shape, ctx.how = inputs
        ctx.save_for_backward(*operands)

    @staticmethod
    def backward(ctx: Any, towards: Tensor) -> tuple[Tensor | None, ...]:
        grad, weight = ctx.saved_tensors
        by_grad, by_weight, *_ = ctx.needs_input_grad
        return (
            _apply(_Convolution, towards, weight, ctx.how) if by_grad else None,
            _apply(_WeightGradient, grad, towards, tuple(weight.shape), ctx.how)
            if by_weight
            else None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any,
        dims: tuple[Any, ...],
        grad: Tensor,
        weight: Tensor,
        shape: tuple[int, ...],
        how: How,
    ) -> Any:
        tasks = info.batch_size
        grad, weight = _in_channels(grad, dims[0], tasks), _in_rows(weight, dims[1], tasks)
        n, channels, *image = shape
        whole = (n, tasks * channels, *image)
        x = _apply(_InputGradient, grad, weight, whole, _for_tasks(how, tasks))
        return torch.unflatten(x, 1, (tasks, -1)), 1


class _WeightGradient(torch.autograd.Function):
    """The gradient of `_Convolution` by its weight, from that of its output and the input."""

    @staticmethod
    def forward(grad: Tensor, x: Tensor, shape: tuple[int, ...], how: How) -> Tensor:
        weight = _unread(grad, shape)
        return _gradients(grad, _last(x), weight, how, by_x=False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        *operands, ctx.shape, ctx.how = inputs
        ctx.save_for_backward(*operands)

    @staticmethod
    def backward(ctx: Any, towards: Tensor) -> tuple[Tensor | None, ...]:
        grad, x = ctx.saved_tensors
        by_grad, by_x, *_ = ctx.needs_input_grad
        return (
            _apply(_Convolution, x, towards, ctx.how) if by_grad else None,
            _apply(_InputGradient, grad, towards, tuple(x.shape), ctx.how) if by_x else None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any, dims: tuple[Any, ...], grad: Tensor, x: Tensor, shape: tuple[int, ...], how: How
    ) -> Any:
        tasks = info.batch_size
        grad, x = _in_channels(grad, dims[0], tasks), _in_channels(x, dims[1], tasks)
        rows, *kernel = shape
        whole = (tasks * rows, *kernel)
        weight = _apply(_WeightGradient, grad, x, whole, _for_tasks(how, tasks))
        return torch.unflatten(weight, 0, (tasks, -1)), 0


def _apply(function: type[torch.autograd.Function], *operands: Any) -> Tensor:
    return cast("Tensor", function.apply(*operands))  # type: ignore[no-untyped-call]


def _gradients(grad: Tensor, x: Tensor, weight: Tensor, how: How, *, by_x: bool) -> Tensor:
    stride, padding, groups = how
    mask = [by_x, not by_x, False]
    found = aten.convolution_backward.default(
        _last(grad), x, weight, None, stride, padding, [1, 1], False, [0, 0], groups, mask
    )
    return cast("Tensor", found[0 if by_x else 1])


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _unread(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A tensor that only says its shape and its layout, channels last."""
    _, channels, height, width = shape
    strides = (channels * height * width, 1, width * channels, channels)
    return like.new_empty_strided(shape, strides)


def _in_channels(x: Tensor, dim: int | None, tasks: int) -> Tensor:
    """Images of every task, or for all tasks, `[n, c, h, w]` -> `[n, tasks * c, h, w]`."""
    if dim is None:
        pixels = x.permute(0, 2, 3, 1)
        return pixels.unsqueeze(3).expand(-1, -1, -1, tasks, -1).flatten(3).permute(0, 3, 1, 2)
    return x.movedim(dim, 1).flatten(1, 2)


def _in_rows(weight: Tensor, dim: int | None, tasks: int) -> Tensor:
    """Weights of every task, or for all tasks, `[o, c, kh, kw]` -> `[tasks * o, c, kh, kw]`."""
    if dim is None:
        rows = weight.permute(0, 2, 3, 1)
        return rows.expand(tasks, *rows.shape).flatten(0, 1).permute(0, 3, 1, 2)
    return weight.movedim(dim, 0).flatten(0, 1)


def _for_tasks(how: How, tasks: int) -> How:
    stride, padding, groups = how
    return stride, padding, groups * tasks


def _pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)
