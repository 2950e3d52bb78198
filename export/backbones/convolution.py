"""2-D convolution for training many tasks at once: exact to any order, and quick where it counts.

Under `torch.func.vmap` with weights of each task's own, `functional.conv2d` becomes a grouped
convolution, whose gradients are slow on a CPU and, to second order, are grouped convolutions again.
A convolution is bilinear, so that its derivatives of any order are made of three functions: itself,
and its gradients by input and by weight. Here each of them has a rule for vmap of its own: one
convolution of all tasks' images where the tasks share the weights, and one product of matrices a
task where they do not (im2col; Chellapilla, Puri, Simard, "High Performance Convolutional Neural
Networks for Document Processing", 2006).

Without vmap each is the library's own operation, which is what the exporter traces.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Context = Any
InDims = tuple[Any, ...]

_FEW_CHANNELS = 4
"""Up to this many input channels the library's convolution is slower than a product of matrices."""


def conv2d(x: Tensor, weight: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolve `[n, c, h, w]` with `[o, c, k, k]` to `[n, o, h', w']`.

    Values, and gradients of every order, are those of `torch.nn.functional.conv2d`.
    """
    return _apply(_Forward, x, weight, stride, padding)


class _Forward(Function):
    """(x, weight) -> y."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        return torch.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        ctx.save_for_backward(*inputs[:2])
        ctx.geometry = inputs[2:]

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return _both(
            ctx,
            lambda: _apply(_InputGrad, grad, weight, x.shape[2], x.shape[3], *ctx.geometry),
            lambda: _apply(_WeightGrad, grad, x, weight.shape[-1], *ctx.geometry),
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: InDims, x: Tensor, weight: Tensor, stride: int, padding: int
    ) -> tuple[Tensor, int]:
        shared = in_dims[0] is not None and in_dims[1] is None
        if shared and weight.shape[1] > _FEW_CHANNELS:
            folded, tasks = _fold(x, in_dims[0])
            return _unfold(
                _apply(_Forward, _last(folded), _last(weight), stride, padding), tasks
            ), 0
        x, n = _by_task(x, in_dims[0], info.batch_size)
        kernel = weight.shape[-1]
        size = [_out_size(s, kernel, stride, padding) for s in x.shape[3:]]
        columns = _columns(x, kernel, stride, padding)
        matrix = _matrix(weight, in_dims[1])
        out = columns @ matrix.transpose(-1, -2)
        return out.reshape(info.batch_size, n, *size, -1).permute(0, 1, 4, 2, 3), 0


class _InputGrad(Function):
    """(gradient by y, weight) -> gradient by x."""

    @staticmethod
    def forward(
        grad: Tensor, weight: Tensor, height: int, width: int, stride: int, padding: int
    ) -> Tensor:
        x = grad.new_empty(grad.shape[0], weight.shape[1], height, width)
        return _library_grads(grad, x, weight, stride, padding, [True, False, False])[0]

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        ctx.save_for_backward(*inputs[:2])
        ctx.geometry = inputs[4:]

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        above, weight = ctx.saved_tensors
        return (
            *_both(
                ctx,
                lambda: _apply(_Forward, grad, weight, *ctx.geometry),
                lambda: _apply(_WeightGrad, above, grad, weight.shape[-1], *ctx.geometry),
            ),
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: InDims,
        grad: Tensor,
        weight: Tensor,
        height: int,
        width: int,
        stride: int,
        padding: int,
    ) -> tuple[Tensor, int]:
        if in_dims[0] is not None and in_dims[1] is None:
            folded, tasks = _fold(grad, in_dims[0])
            found = _apply(_InputGrad, _last(folded), _last(weight), height, width, stride, padding)
            return _unfold(found, tasks), 0
        grad, n = _by_task(grad, in_dims[0], info.batch_size)
        c, kernel = weight.shape[-3], weight.shape[-1]
        columns = _pixels(grad) @ _matrix(weight, in_dims[1])
        image = _apply(
            _Image,
            columns.reshape(info.batch_size * n, -1, columns.shape[-1]),
            height,
            width,
            kernel,
            stride,
            padding,
        )
        return image.reshape(info.batch_size, n, height, width, c).permute(0, 1, 4, 2, 3), 0


class _WeightGrad(Function):
    """(gradient by y, x) -> gradient by weight."""

    @staticmethod
    def forward(grad: Tensor, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        weight = grad.new_empty(grad.shape[1], x.shape[1], kernel, kernel)
        return _library_grads(grad, x, weight, stride, padding, [False, True, False])[1]

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        ctx.save_for_backward(*inputs[:2])
        ctx.geometry = inputs[3:]

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        above, x = ctx.saved_tensors
        return (
            *_both(
                ctx,
                lambda: _apply(_Forward, x, grad, *ctx.geometry),
                lambda: _apply(_InputGrad, above, grad, x.shape[2], x.shape[3], *ctx.geometry),
            ),
            None,
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: InDims,
        grad: Tensor,
        x: Tensor,
        kernel: int,
        stride: int,
        padding: int,
    ) -> tuple[Tensor, int]:
        grad, _ = _by_task(grad, in_dims[0], info.batch_size)
        x, _ = _by_task(x, in_dims[1], info.batch_size)
        found = _pixels(grad).transpose(1, 2) @ _columns(x, kernel, stride, padding)
        by_tap = found.reshape(info.batch_size, grad.shape[2], kernel, kernel, x.shape[2])
        return by_tap.permute(0, 1, 4, 2, 3), 0


@torch.library.custom_op("edge_sdk_export::im2col", mutates_args=())
def _im2col(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """`[n, h, w, c]` -> `[n, h' * w', k * k * c]`: what each output place looks at."""
    n, height, width, c = x.shape
    p = padding
    high, wide = height + 2 * p, width + 2 * p
    padded = x.new_zeros(n, high, wide, c)
    padded[:, p : p + height, p : p + width] = x
    out_h, out_w = _out_size(height, kernel, stride, p), _out_size(width, kernel, stride, p)
    row = wide * c
    # one window's row of k pixels is a run of k * c numbers
    windows = padded.as_strided(
        (n, out_h, out_w, kernel, kernel * c), (high * row, stride * row, stride * c, row, 1)
    )
    return windows.reshape(n, out_h * out_w, kernel * kernel * c)


@_im2col.register_fake
def _(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    out_h, out_w = (_out_size(size, kernel, stride, padding) for size in x.shape[1:3])
    return x.new_empty(len(x), out_h * out_w, kernel * kernel * x.shape[3])


@torch.library.custom_op("edge_sdk_export::col2im", mutates_args=())
def _col2im(
    columns: Tensor, height: int, width: int, kernel: int, stride: int, padding: int
) -> Tensor:
    """The transpose of im2col: `[n, h' * w', k * k * c]` -> `[n, h, w, c]`."""
    n, c, p = len(columns), columns.shape[-1] // kernel**2, padding
    out_h, out_w = _out_size(height, kernel, stride, p), _out_size(width, kernel, stride, p)
    parts = columns.reshape(n, out_h, out_w, kernel, kernel, c)
    padded = columns.new_zeros(n, height + 2 * p, width + 2 * p, c)
    for i in range(kernel):
        for j in range(kernel):
            rows = slice(i, i + (out_h - 1) * stride + 1, stride)
            cols = slice(j, j + (out_w - 1) * stride + 1, stride)
            padded[:, rows, cols] += parts[:, :, :, i, j]
    return padded[:, p : p + height, p : p + width].contiguous()


@_col2im.register_fake
def _(columns: Tensor, height: int, width: int, kernel: int, stride: int, padding: int) -> Tensor:
    del stride, padding
    return columns.new_empty(len(columns), height, width, columns.shape[-1] // kernel**2)


class _Columns(Function):
    """im2col."""

    @staticmethod
    def forward(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        out: Tensor = _im2col(x, kernel, stride, padding)
        return out

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        ctx.geometry = (*inputs[0].shape[1:3], *inputs[1:])

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _apply(_Image, grad, *ctx.geometry), None, None, None


class _Image(Function):
    """col2im."""

    @staticmethod
    def forward(
        columns: Tensor, height: int, width: int, kernel: int, stride: int, padding: int
    ) -> Tensor:
        out: Tensor = _col2im(columns, height, width, kernel, stride, padding)
        return out

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        ctx.geometry = inputs[3:]

    @staticmethod
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _apply(_Columns, grad, *ctx.geometry), None, None, None, None, None


def _library_grads(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wanted
    )
    return found


def _apply(function: type[Function], *inputs: Any) -> Tensor:
    out: Tensor = function.apply(*inputs)  # type: ignore[no-untyped-call]
    return out


def _both(ctx: Context, first: Any, second: Any) -> tuple[Tensor | None, ...]:
    """The gradients by the two tensors, where they are wanted; none by the two sizes after them."""
    wanted = ctx.needs_input_grad
    return first() if wanted[0] else None, second() if wanted[1] else None, None, None


def _out_size(size: int, kernel: int, stride: int, padding: int) -> int:
    return (size + 2 * padding - kernel) // stride + 1


def _last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)


def _fold(maps: Tensor, dim: int) -> tuple[Tensor, int]:
    """`[tasks, n, ...]` -> `[tasks * n, ...]`, and the number of tasks."""
    maps = maps.movedim(dim, 0)
    return maps.flatten(0, 1), len(maps)


def _unfold(maps: Tensor, tasks: int) -> Tensor:
    return maps.reshape(tasks, -1, *maps.shape[1:])


def _by_task(maps: Tensor, dim: int | None, tasks: int) -> tuple[Tensor, int]:
    """`[tasks, n, c, h, w]`, and n."""
    maps = maps.expand(tasks, *maps.shape) if dim is None else maps.movedim(dim, 0)
    return maps, maps.shape[1]


def _columns(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """`[tasks, n, c, h, w]` -> `[tasks, n * h' * w', k * k * c]`."""
    tasks = len(x)
    pixels = x.permute(0, 1, 3, 4, 2).flatten(0, 1).contiguous()
    columns = _apply(_Columns, pixels, kernel, stride, padding)
    return columns.reshape(tasks, -1, columns.shape[-1])


def _matrix(weight: Tensor, dim: int | None) -> Tensor:
    """`[tasks, o, c, k, k]` -> `[tasks, o, k * k * c]`; without tasks where all share it."""
    if dim is not None:
        weight = weight.movedim(dim, 0)
    return weight.movedim(-3, -1).flatten(-3)


def _pixels(maps: Tensor) -> Tensor:
    """`[tasks, n, o, h, w]` -> `[tasks, n * h * w, o]`."""
    return maps.permute(0, 1, 3, 4, 2).flatten(1, 3)
