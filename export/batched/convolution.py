"""Convolutions of many tasks, each with weights of its own: one batched matrix product for all.

A convolution, its input's gradient and its weight's gradient are one trilinear form, so that the
derivatives of each are the other two, and a derivative of any order is again such a product. What
PyTorch derives for the second order convolves in layouts that are slow on a CPU. Images have their
channels last; their patches (im2col) are computed once for a product and for its derivatives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from edge_sdk.errors import InvalidOptionError
from export.convolutions import Phases


class Window(NamedTuple):
    """How a square kernel moves over images; the kernel is no smaller than the stride."""

    height: int
    width: int
    kernel: int
    stride: int
    padding: int

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output."""
        reach = 2 * self.padding - self.kernel
        return (self.height + reach) // self.stride + 1, (self.width + reach) // self.stride + 1


def convolve(x: Tensor, weight: Tensor, *, stride: int, padding: int) -> Tensor:
    """Convolve the images of each task with its weights; differentiable to any order.

    Not for use under `torch.func`'s transforms: the tasks are an axis here.

    Args:
        x: `[tasks, n, height, width, channels]`.
        weight: `[tasks, out_channels, kernel, kernel, channels]`. One weight expanded to all tasks
            (stride 0) is multiplied once for all of them.
        stride: At most the kernel's size.
        padding: Zeros on each side.

    Returns:
        `[tasks, n, out_height, out_width, out_channels]`.

    Raises:
        InvalidOptionError: The stride is larger than the kernel.
    """
    if stride > weight.shape[2]:
        msg = f"stride must be at most the kernel's size {weight.shape[2]}, got {stride}"
        raise InvalidOptionError(msg)
    window = Window(x.shape[2], x.shape[3], weight.shape[2], stride, padding)
    result: Tensor = _convolution(x, _patches(x.detach(), window), weight, window)
    return result


class _Convolve(Function):
    """`patches` are those of `x`, computed before; they have no gradient of their own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, patches: Tensor, weight: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(x, patches, weight)
        ctx.window = window
        if _shared(weight):
            rows = patches.flatten(0, 1) @ weight[0].flatten(1).T
        else:
            rows = torch.bmm(patches, weight.flatten(2).transpose(1, 2))
        return rows.view(*x.shape[:2], *window.out, weight.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, patches, weight = ctx.saved_tensors
        grad = grads[0].contiguous()
        by_x = by_weight = None
        if ctx.needs_input_grad[0]:
            by_x = _input_gradient(grad, weight, ctx.window)
        if ctx.needs_input_grad[2]:
            by_weight = _weight_gradient(x, patches, grad, ctx.window)
        return by_x, None, by_weight, None


class _InputGradient(Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, weight: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(grad, weight)
        ctx.window = window
        return _spread(grad, weight, window)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad, weight = ctx.saved_tensors
        cotangent = grads[0].contiguous()
        patches = _patches(cotangent.detach(), ctx.window)
        by_grad = by_weight = None
        if ctx.needs_input_grad[0]:
            by_grad = _convolution(cotangent, patches, weight, ctx.window)
        if ctx.needs_input_grad[1]:
            by_weight = _weight_gradient(cotangent, patches, grad, ctx.window)
        return by_grad, by_weight, None


class _WeightGradient(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, patches: Tensor, grad: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(x, patches, grad)
        ctx.window = window
        rows = grad.flatten(1, 3)
        if patches.shape[2] < rows.shape[2]:  # products are faster with the longer side last
            found = torch.bmm(patches.transpose(1, 2), rows).transpose(1, 2)
        else:
            found = torch.bmm(rows.transpose(1, 2), patches)
        return found.view(*found.shape[:2], window.kernel, window.kernel, x.shape[-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, patches, grad = ctx.saved_tensors
        cotangent = grads[0].contiguous()
        by_x = by_grad = None
        if ctx.needs_input_grad[0]:
            by_x = _input_gradient(grad, cotangent, ctx.window)
        if ctx.needs_input_grad[2]:
            by_grad = _convolution(x, patches, cotangent, ctx.window)
        return by_x, None, by_grad, None


_convolution: Any = _Convolve.apply  # PyTorch gives `apply` no type
_input_gradient: Any = _InputGradient.apply
_weight_gradient: Any = _WeightGradient.apply


def _shared(weight: Tensor) -> bool:
    return len(weight) == 1 or weight.stride(0) == 0


def _patches(x: Tensor, window: Window) -> Tensor:
    """`[tasks, n, height, width, c]` -> `[tasks, n * outputs, kernel * kernel * c]` (im2col)."""
    tasks, n, _, _, c = x.shape
    p, k, s = window.padding, window.kernel, window.stride
    # padding by 0 keeps a view's strides, those below are of rows that lie one after another
    padded = functional.pad(x, (0, 0, p, p, p, p)).contiguous()
    height, width = padded.shape[2:4]
    steps = (n * height * width * c, height * width * c, s * width * c, s * c, width * c, 1)
    runs = padded.as_strided((tasks, n, *window.out, k, k * c), steps)
    return runs.reshape(tasks, -1, k * k * c)


def _spread(grad: Tensor, weight: Tensor, window: Window) -> Tensor:
    """A transposed convolution, one plain one for each phase of the stride (see `Phases`)."""
    tasks, n, _, _, o = grad.shape
    c, s = weight.shape[-1], window.stride
    rows, columns = (
        Phases(size, out, window.kernel, s, window.padding)
        for size, out in zip(window[:2], window.out, strict=True)
    )
    padded = functional.pad(grad, (0, 0, *columns.padding, *rows.padding)).contiguous()
    height, width = padded.shape[2:4]
    counts = len(rows.starts), len(columns.starts)
    image = grad.new_empty((tasks, n, counts[0] * s, counts[1] * s, c))
    shared = _shared(weight)
    taps = _taps_by_phase(weight[:1] if shared else weight, rows, columns)
    first = 0
    for i, row in enumerate(rows.phases):
        for j, column in enumerate(columns.phases):
            a, b = len(row.taps), len(column.taps)
            # outputs in ascending order, so that a row of them is one run; taps then descend
            top, left = rows.starts[0] + row.offsets[-1], columns.starts[0] + column.offsets[-1]
            steps = (n * height * width * o, height * width * o, width * o, o, width * o, 1)
            patches = padded.as_strided(
                (tasks, n, *counts, a, b * o), steps, (top * width + left) * o
            ).reshape(tasks, -1, a * b * o)
            kernels = taps[:, first : first + a * b].flatten(1, 2)
            first += a * b
            block = patches.flatten(0, 1) @ kernels[0] if shared else torch.bmm(patches, kernels)
            image[:, :, i::s, j::s] = block.view(tasks, n, *counts, c)
    return image[:, :, : window.height, : window.width].contiguous()


def _taps_by_phase(weight: Tensor, rows: Phases, columns: Phases) -> Tensor:
    """`[tasks, out, kernel, kernel, c]` -> `[tasks, kernel * kernel, out, c]`, phase by phase."""
    kernel = weight.shape[2]
    order = [
        i * kernel + j
        for row in rows.phases
        for column in columns.phases
        for i in reversed(row.taps)
        for j in reversed(column.taps)
    ]
    by_tap = weight.flatten(2, 3).transpose(1, 2)
    return by_tap.index_select(1, torch.tensor(order, device=weight.device))
