"""Decompositions of the backward pass into operations that export to plain-inference ONNX, exactly.

Convolutions are in `export.convolutions`, max-pooling is in `export.pooling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch._decomp import core_aten_decompositions

from export.convolutions import convolution, convolution_backward
from export.pooling import max_pool2d_with_indices, max_pool2d_with_indices_backward

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

aten = torch.ops.aten


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

    The centred input is what its backward pass needs too: written alike, it is computed once.

    Raises:
        NotImplementedError: Without weight or bias.
    """
    if weight is None or bias is None:
        msg = "only batch norm with a weight and a bias has an exportable backward pass"
        raise NotImplementedError(msg)
    mean = x.mean((0, 2, 3))
    centred = x - _by_channel(mean)
    inverse = torch.rsqrt((centred * centred).mean((0, 2, 3)) + eps)
    out = centred * _by_channel(inverse * weight) + _by_channel(bias)
    return out, mean, inverse


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
    table[aten.convolution.default] = convolution
    table[aten.convolution_backward.default] = convolution_backward
    table[aten.max_pool2d_with_indices.default] = max_pool2d_with_indices
    table[aten.max_pool2d_with_indices_backward.default] = max_pool2d_with_indices_backward
    table[aten.threshold_backward.default] = threshold_backward
    table[aten._native_batch_norm_legit.no_stats] = batch_norm
    table[aten.native_batch_norm_backward.default] = batch_norm_backward
    return table


def forward_only(table: Mapping[Any, Callable[..., Any]]) -> dict[Any, Callable[..., Any]]:
    """The table for a graph without a backward pass: what ONNX has an operator for stays whole.

    What is computed once for both passes would be of no further use there.
    """
    whole = (aten.convolution.default, aten.max_pool2d_with_indices.default)
    return {op: function for op, function in table.items() if op not in whole}
