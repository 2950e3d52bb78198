"""Decompositions of the backward pass into operations that export to plain-inference ONNX, exactly.

The convolution's gradients are written out: with respect to the input as a transposed convolution,
with respect to the weight as im2col and one matrix product (twice as fast in ONNX Runtime as a
convolution that swaps batch and channels).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch._decomp import core_aten_decompositions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

aten = torch.ops.aten


def _im2col(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """`[n, c, h, w]` -> `[n, c, kh * kw, oh * ow]`, by strided slices (plain ONNX `Slice`)."""
    n, channels, height, width = x.shape
    kh, kw = kernel
    out_h = (height + 2 * padding[0] - kh) // stride[0] + 1
    out_w = (width + 2 * padding[1] - kw) // stride[1] + 1
    # not functional.pad: tracing through it fixes the batch size
    padded = aten.constant_pad_nd.default(x, [padding[1], padding[1], padding[0], padding[0]], 0.0)
    taps = [
        padded[
            :,
            :,
            i : i + (out_h - 1) * stride[0] + 1 : stride[0],
            j : j + (out_w - 1) * stride[1] + 1 : stride[1],
        ].reshape(n, channels, 1, out_h * out_w)
        for i in range(kh)
        for j in range(kw)
    ]
    return torch.cat(taps, dim=2)


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
        columns = _im2col(x, (kh, kw), stride, padding)  # [n, c, kh * kw, oh * ow]
        columns = columns.permute(1, 2, 0, 3).reshape(channels * kh * kw, n * out_h * out_w)
        grads = grad_output.permute(1, 0, 2, 3).reshape(out_channels, n * out_h * out_w)
        grad_weight = (grads @ columns.T).reshape(out_channels, channels, kh, kw)
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
    n, channels, out_h, out_w = grad_output.shape
    height, width = x.shape[2:]
    windows = x[:, :, : out_h * kh, : out_w * kw].reshape(n, channels, out_h, kh, out_w, kw)
    windows = windows.permute(0, 1, 2, 4, 3, 5).reshape(n, channels, out_h, out_w, kh * kw)
    first = windows.argmax(-1, keepdim=True)
    hot = (first == torch.arange(kh * kw, device=x.device)).to(grad_output.dtype)
    grads = (hot * grad_output[..., None]).reshape(n, channels, out_h, out_w, kh, kw)
    grads = grads.permute(0, 1, 2, 4, 3, 5).reshape(n, channels, out_h * kh, out_w * kw)
    rest = [0, width - out_w * kw, 0, height - out_h * kh]
    padded: Tensor = aten.constant_pad_nd.default(grads, rest, 0.0)
    return padded


def decomposition_table() -> dict[Any, Callable[..., Any]]:
    """Core ATen decompositions and our own backward ones."""
    table: dict[Any, Callable[..., Any]] = dict(core_aten_decompositions())
    table[aten.convolution_backward.default] = convolution_backward
    table[aten.max_pool2d_with_indices_backward.default] = max_pool2d_with_indices_backward
    return table
