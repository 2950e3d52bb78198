"""Decompositions of the backward pass into operations that export to plain-inference ONNX, exactly.

The convolution's gradients are written out: with respect to the input as a transposed convolution,
with respect to the weight as im2col and one matrix product (twice as fast in ONNX Runtime as a
convolution that swaps batch and channels).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch._decomp import core_aten_decompositions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

aten = torch.ops.aten

GATHER_CHANNELS = 8
"""From this many channels on, im2col gathers pixels in place of slicing and joining images."""


def _im2col(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """`[n, c, h, w]` -> `[n * oh * ow, kh * kw * c]`.

    Channels come last, so that whole runs of them are copied and the result is a matrix as it lies.
    One `Gather` does it where the runs are long enough; else strided slices, joined.
    """
    n, channels, height, width = x.shape
    kh, kw = kernel
    out_h = (height + 2 * padding[0] - kh) // stride[0] + 1
    out_w = (width + 2 * padding[1] - kw) // stride[1] + 1
    # not functional.pad: tracing through it fixes the batch size
    padded = aten.constant_pad_nd.default(
        x.permute(0, 2, 3, 1), [0, 0, padding[1], padding[1], padding[0], padding[0]], 0.0
    )
    if channels >= GATHER_CHANNELS:
        padded_width = width + 2 * padding[1]
        corner = (
            torch.arange(out_h, device=x.device)[:, None] * (stride[0] * padded_width)
            + torch.arange(out_w, device=x.device) * stride[1]
        )
        tap = torch.arange(kh, device=x.device)[:, None] * padded_width + torch.arange(
            kw, device=x.device
        )
        places = (corner.reshape(-1, 1) + tap.reshape(1, -1)).reshape(-1)
        pixels = padded.reshape(n, (height + 2 * padding[0]) * padded_width, channels)
        gathered = aten.index_select.default(pixels, 1, places)
        return cast("Tensor", gathered).reshape(n * out_h * out_w, kh * kw * channels)
    taps = [
        padded[
            :,
            i : i + (out_h - 1) * stride[0] + 1 : stride[0],
            j : j + (out_w - 1) * stride[1] + 1 : stride[1],
        ]
        for i in range(kh)
        for j in range(kw)
    ]
    return torch.cat(taps, dim=3).reshape(n * out_h * out_w, kh * kw * channels)


def convolution_backward(  # the signature of aten::convolution_backward
    grad_output: Tensor,
    x: Tensor,
    weight: Tensor,
    _bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of a plain 2-D convolution (one group, no dilation).

    Raises:
        NotImplementedError: For any other kind of convolution, rather than export a wrong gradient.
    """
    if transposed or groups != 1 or any(d != 1 for d in dilation) or any(output_padding):
        msg = "only plain 2-D convolutions have an exportable backward pass"
        raise NotImplementedError(msg)
    n, out_channels, out_h, out_w = grad_output.shape
    _, channels, height, width = x.shape
    kh, kw = weight.shape[2:]
    grad_x = grad_weight = grad_bias = None
    if output_mask[0]:
        rest = [
            size - ((out - 1) * s - 2 * p + k)
            for size, out, s, p, k in zip(
                (height, width), (out_h, out_w), stride, padding, (kh, kw), strict=True
            )
        ]
        grad_x = torch.ops.aten.convolution.default(
            grad_output, weight, None, stride, padding, [1, 1], True, rest, 1
        )
    if output_mask[1]:
        columns = _im2col(x, (kh, kw), stride, padding)
        grads = grad_output.permute(1, 0, 2, 3).reshape(out_channels, n * out_h * out_w)
        by_tap = (grads @ columns).reshape(out_channels, kh, kw, channels)
        grad_weight = by_tap.permute(0, 3, 1, 2)
    if output_mask[2]:
        grad_bias = grad_output.sum((0, 2, 3))
    return grad_x, grad_weight, grad_bias


def max_pool2d_with_indices_backward(  # the signature of the aten operation
    grad_output: Tensor,
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    _indices: Tensor,
) -> Tensor:
    """Gradient of max-pooling over windows that do not overlap.

    All of a window's gradient goes to its first largest element. (To mark each element that equals
    the maximum is wrong wherever a window has ties, as on a flat background.)

    Raises:
        NotImplementedError: For windows that overlap or are padded.
    """
    kh, kw = kernel_size
    steps = list(stride) or [kh, kw]
    if steps != [kh, kw] or any(padding) or any(d != 1 for d in dilation) or ceil_mode:
        msg = (
            "only max-pooling over disjoint windows without padding has an exportable backward pass"
        )
        raise NotImplementedError(msg)
    out_h, out_w = grad_output.shape[2:]
    height, width = x.shape[2:]
    size = [out_h * kh, out_w * kw]

    def spread(pooled: Tensor) -> Tensor:  # one number a window -> all of the window
        return cast("Tensor", aten.upsample_nearest2d.default(pooled, size))

    def largest(values: Tensor) -> Tensor:
        return cast("Tensor", aten.max_pool2d_with_indices.default(values, [kh, kw], [kh, kw])[0])

    used = x[:, :, : size[0], : size[1]]
    # the first of a window's places has the highest rank, so the largest rank among the places that
    # hold the maximum is that of the first
    places = torch.arange(kh * kw, 0, -1, dtype=x.dtype, device=x.device).reshape(kh, kw)
    rank = (used == spread(largest(used))).to(x.dtype) * places.repeat(out_h, out_w)
    first = (rank == spread(largest(rank))).to(x.dtype)
    rest = [0, width - size[1], 0, height - size[0]]
    grads: Tensor = first * spread(grad_output)
    return aten.constant_pad_nd.default(grads, rest, 0.0) if any(rest) else grads


def threshold_backward(grad_output: Tensor, x: Tensor, threshold: float) -> Tensor:
    """Gradient of ReLU: a product with a mask, faster in ONNX Runtime than `Where`."""
    return grad_output * (x > threshold).to(grad_output.dtype)


def batch_norm(  # the signature of aten::_native_batch_norm_legit.no_stats
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    _training: bool,
    _momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm of `[n, c, h, w]` on batch statistics; also the mean and the inverse deviation.

    The centred input is what its backward pass needs too, and is computed once for both.

    Raises:
        NotImplementedError: Without weight or bias.
    """
    if weight is None or bias is None:
        msg = "only batch norm with a weight and a bias has an exportable backward pass"
        raise NotImplementedError(msg)
    mean = x.mean((0, 2, 3), keepdim=True)
    centred = x - mean
    inverse = torch.rsqrt((centred * centred).mean((0, 2, 3), keepdim=True) + eps)
    out = centred * (inverse * _by_channel(weight)) + _by_channel(bias)
    return out, mean.reshape(-1), inverse.reshape(-1)


def batch_norm_backward(  # the signature of aten::native_batch_norm_backward
    grad_output: Tensor,
    x: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Tensor,
    inverse: Tensor,
    training: bool,
    _eps: float,
    _output_mask: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `batch_norm`: two sums, and four passes over the input.

    With N = n * h * w: d x = weight * inverse * (g - mean(g) - centred * inverse^2 *
    mean(g * centred)); Ioffe & Szegedy, "Batch Normalization", ICML 2015, section 3.

    Raises:
        NotImplementedError: With running statistics, or without a weight.
    """
    if not training or running_mean is not None or running_var is not None or weight is None:
        msg = "only batch norm on batch statistics has an exportable backward pass"
        raise NotImplementedError(msg)
    count = x.shape[0] * x.shape[2] * x.shape[3]
    centred = x - _by_channel(mean)
    grad_bias = grad_output.sum((0, 2, 3))
    projected = (grad_output * centred).sum((0, 2, 3))
    scale = weight * inverse
    slope = scale * inverse * inverse * projected / count
    offset = scale * grad_bias / count
    grad_x = grad_output * _by_channel(scale) - centred * _by_channel(slope) - _by_channel(offset)
    return grad_x, projected * inverse, grad_bias


def _by_channel(values: Tensor) -> Tensor:
    return values.reshape(1, -1, 1, 1)


def decomposition_table() -> dict[Any, Callable[..., Any]]:
    """Core ATen decompositions and our own backward ones."""
    table: dict[Any, Callable[..., Any]] = dict(core_aten_decompositions())
    table[aten.convolution_backward.default] = convolution_backward
    table[aten.max_pool2d_with_indices_backward.default] = max_pool2d_with_indices_backward
    table[aten.threshold_backward.default] = threshold_backward
    table[aten._native_batch_norm_legit.no_stats] = batch_norm
    table[aten.native_batch_norm_backward.default] = batch_norm_backward
    # ONNX has it as an operator of its own, `Resize`
    for overload in (aten.upsample_nearest2d.default, aten.upsample_nearest2d.vec):
        table.pop(overload, None)
    return table
