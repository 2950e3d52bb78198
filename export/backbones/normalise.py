"""Normalisation to mean 0 and variance 1, with its derivatives written out.

Left to autograd, the second derivative of a normalisation is over a hundred passes through memory.
Written out, the gradient is one function of three tensors and its own derivative a few sums more
(after section 3 of Ioffe & Szegedy, "Batch Normalization", ICML 2015). Exact to any order, under
`torch.func.vmap` too (`functional.batch_norm` is not), and made of operations that export.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Context = Any


def normalise(x: Tensor, dims: tuple[int, ...], *, eps: float = 1e-5) -> Tensor:
    """`(x - mean) / sqrt(variance + eps)`, both taken over `dims`; the shape of `x`."""
    out: Tensor = _Normalise.apply(x, dims, eps)[0]  # type: ignore[no-untyped-call]
    return out


class _Normalise(Function):
    """x -> y, and the inverse deviation r."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, dims: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
        centred = x - x.mean(dims, keepdim=True)
        inverse = torch.rsqrt((centred * centred).mean(dims, keepdim=True) + eps)
        return centred * inverse, inverse

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output)
        ctx.dims = inputs[1]

    @staticmethod
    def backward(
        ctx: Context, grad_y: Tensor | None, grad_r: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        y, inverse = ctx.saved_tensors
        found = None if grad_y is None else _project(grad_y, y, inverse, ctx.dims)
        if grad_r is not None:  # r occurs in second derivatives alone; dr / dx = -r^2 * y / count
            by_r = -y * (grad_r * inverse * inverse / (y.numel() // inverse.numel()))
            found = by_r if found is None else found + by_r
        return found, None, None


class _Project(Function):
    """(g, y, r) -> r * (g - mean(g) - y * mean(g * y)): from the gradient by y to that by x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad: Tensor, y: Tensor, inverse: Tensor, dims: tuple[int, ...]) -> Tensor:
        mean, along = grad.mean(dims, keepdim=True), (grad * y).mean(dims, keepdim=True)
        # two passes through memory: everything but `grad` and `y` is small
        return torch.addcmul(torch.addcmul(-mean * inverse, grad, inverse), y, -along * inverse)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
        del output
        ctx.save_for_backward(*inputs[:3])
        ctx.dims = inputs[3]

    @staticmethod
    def backward(ctx: Context, above: Tensor) -> tuple[Tensor | None, ...]:
        grad, y, inverse = ctx.saved_tensors
        dims = ctx.dims
        count = y.numel() // inverse.numel()
        along, above_along = (
            (grad * y).mean(dims, keepdim=True),
            (above * y).mean(dims, keepdim=True),
        )
        by_y = torch.addcmul(above * (-along * inverse), grad, -above_along * inverse)
        inner = (above * grad).mean(dims, keepdim=True)
        means = above.mean(dims, keepdim=True) * grad.mean(dims, keepdim=True)
        by_inverse = count * (inner - means - along * above_along)
        return _project(above, y, inverse, dims), by_y, by_inverse, None


def _project(grad: Tensor, y: Tensor, inverse: Tensor, dims: tuple[int, ...]) -> Tensor:
    out: Tensor = _Project.apply(grad, y, inverse, dims)  # type: ignore[no-untyped-call]
    return out
