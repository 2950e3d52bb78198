"""Normalisation, scale, shift and ReLU of many tasks as one operation, differentiable twice.

The derivatives are written out by hand: each is a few sums along rows and one weighted sum of maps,
in place of a chain of elementary steps that pass through memory one by one. PyTorch's own second
derivative of batch norm is wrong under `torch.func.vmap`, which is not needed here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

_behind_relu = torch.ops.aten.threshold_backward
"""(gradient, output, 0) -> the gradient where the output is above 0."""


class Norm(NamedTuple):
    """What has one mean and variance: all rows of a set, in a run of neighbouring channels.

    Attributes:
        run: Channels of a run, a divisor of their number; 1 for batch norm.
        eps: Added to the variance.
    """

    run: int
    eps: float


def normalised_relu(x: Tensor, scale: Tensor, shift: Tensor, norm: Norm) -> Tensor:
    """relu(scale * (x - mean) / sqrt(variance + eps) + shift).

    Args:
        x: `[tasks, sets, rows, channels]`. Of batch norm (Ioffe & Szegedy, ICML 2015) a set holds
            the pixels of all images, of group norm (Wu & He, ECCV 2018) those of one.
        scale: `[tasks, channels]`.
        shift: `[tasks, channels]`.
        norm: See `Norm`.

    Raises:
        NotImplementedError: In a second derivative that is to be differentiated once more.
    """
    result: Tensor = _norm_relu(x, scale, shift, norm)
    return result


def _sums(x: Tensor) -> Tensor:
    """`[tasks, sets, rows, channels]` -> `[tasks, sets, 1, channels]`."""
    return x.sum(2, keepdim=True)


def _means(sums: Tensor, rows: int, norm: Norm) -> Tensor:
    """Sums along `rows` rows, `[..., channels]` -> means over rows and runs, of the same shape."""
    if norm.run == 1:
        return sums / rows
    runs = sums.view(*sums.shape[:-1], -1, norm.run)
    means = runs.sum(-1, keepdim=True) / (rows * norm.run)
    return means.expand(*means.shape[:-1], norm.run).flatten(-2)


class _NormRelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, norm: Norm) -> Tensor:
        rows = x.shape[2]
        normal = x - _means(_sums(x), rows, norm)
        root = torch.rsqrt(_means(_sums(normal * normal), rows, norm) + norm.eps)
        normal *= root
        y = torch.addcmul(shift[:, None, None], normal, scale[:, None, None]).relu_()
        ctx.save_for_backward(x, scale, y, normal, root)
        ctx.norm = norm
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, scale, y, normal, root = ctx.saved_tensors
        found = _gradients(grads[0], x, scale, y.detach(), normal, root, ctx.norm)
        return *found, None


class _Gradients(Function):
    """The gradients of `_NormRelu` by x, scale and shift.

    `y`, `normal` and `root` are what it computed of `_x` before. They come along as constants: the
    derivative by `_x` holds what goes through them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        _x: Tensor,
        scale: Tensor,
        y: Tensor,
        normal: Tensor,
        root: Tensor,
        norm: Norm,
    ) -> Any:
        rows, wide = normal.shape[2], scale[:, None, None]
        active = _behind_relu(grad, y, 0)
        sums, along = _sums(active), _sums(active * normal)
        mean, slope = _means(wide * sums, rows, norm), _means(wide * along, rows, norm)
        by_x = torch.addcmul(-root * mean, active, root * wide)
        by_x.addcmul_(normal, -root * slope)
        ctx.save_for_backward(scale, y, normal, root, active, sums, along, mean, slope)
        ctx.norm = norm
        return by_x, along.sum((1, 2)), sums.sum((1, 2))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        if torch.is_grad_enabled():  # `once_differentiable` lets `autograd.grad` pass over it
            msg = "normalised_relu is differentiable twice; leave create_graph out the second time"
            raise NotImplementedError(msg)
        # With g = scale * active and P(v) = v - mean(v) - normal * mean(v * normal), which is
        # symmetric, by_x was root * P(g); u, by_scales and by_shifts are cotangents of the results.
        scale, y, normal, root, active, sums, along, mean, slope = ctx.saved_tensors
        norm, rows, wide = ctx.norm, normal.shape[2], scale[:, None, None]
        u, by_scales, by_shifts = grads[0], grads[1][:, None, None], grads[2][:, None, None]
        u_sums, u_along, u_active = _sums(u), _sums(u * normal), _sums(u * active)
        u_mean, u_slope = _means(u_sums, rows, norm), _means(u_along, rows, norm)
        # active's: scale * root * P(u) + by_scales * normal + by_shifts
        by_grad = torch.addcmul(by_shifts - wide * root * u_mean, u, wide * root)
        by_grad.addcmul_(normal, by_scales - wide * root * u_slope)
        by_grad = _behind_relu(by_grad, y, 0)
        by_scale = (root * (u_active - u_mean * sums - u_slope * along)).sum((1, 2))
        # normal's: e = by_scales * active - root * (g * mean(u * normal) + u * mean(g * normal)),
        # then x's, through normal: root * P(e), and through root: -normal * root * mean(u * by_x)
        by_active, by_u = by_scales - wide * root * u_slope, -root * slope
        e_mean = _means(by_active * sums + by_u * u_sums, rows, norm)
        e_slope = _means(by_active * along + by_u * u_along, rows, norm)
        of_root = root * (_means(wide * u_active, rows, norm) - u_mean * mean - u_slope * slope)
        by_x = torch.addcmul(-root * e_mean, active, root * by_active)
        by_x.addcmul_(u, root * by_u)
        by_x.addcmul_(normal, -root * (e_slope + of_root))
        return by_grad, by_x, by_scale, None, None, None, None


_norm_relu: Any = _NormRelu.apply  # PyTorch gives `apply` no type
_gradients: Any = _Gradients.apply
