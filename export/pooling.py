"""Max-pooling over disjoint windows, and its gradient, as splits and comparisons of whole rows.

A window's places become as many matrices, one pixel a row and one channel a column, so that all
work is done on arrays of the pooled size. Channels are last throughout, as in
`export.convolutions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

aten = torch.ops.aten


def max_pool2d_with_indices(  # the signature of the aten operation
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
) -> Any:
    """The largest of each window, and where it is in its image (nothing here asks for that).

    Windows that overlap or are padded are left as they are.
    """
    if x.dim() != 4 or not _is_disjoint(kernel_size, stride, padding, dilation, ceil_mode):
        return NotImplemented
    n, channels, height, width = x.shape
    kh, kw = kernel_size
    size = (n, height // kh, width // kw, channels)
    places = _places(x, kernel_size)
    largest = places[0]
    for place in places[1:]:
        largest = torch.maximum(largest, place)
    rows = torch.arange(size[1], device=x.device)[:, None] * kh
    columns = torch.arange(size[2], device=x.device) * kw
    corner = (rows * width + columns)[:, :, None]
    indices = corner + (kh - 1) * width + kw - 1  # where the last place is
    for i in reversed(range(len(places) - 1)):
        here = corner + (i // kw) * width + i % kw
        indices = torch.where((places[i] == largest).reshape(size), here, indices)
    return largest.reshape(size).permute(0, 3, 1, 2), indices.permute(0, 3, 1, 2)


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
    if not _is_disjoint(kernel_size, stride, padding, dilation, ceil_mode):
        msg = (
            "only max-pooling over disjoint windows without padding has an exportable backward pass"
        )
        raise NotImplementedError(msg)
    kh, kw = kernel_size
    n, channels, out_h, out_w = grad_output.shape
    places = _places(x, kernel_size)
    largest = places[0]
    for place in places[1:]:
        largest = torch.maximum(largest, place)
    left = grad_output.permute(0, 2, 3, 1).reshape(-1, channels)
    grads = []
    for place in places[:-1]:
        grads.append(left * (place == largest).to(left.dtype))
        left = left - grads[-1]
    grads.append(left)  # whatever no place before it took
    rows = [
        torch.cat(grads[i : i + kw], dim=1).reshape(-1, out_w * kw * channels)
        for i in range(0, kh * kw, kw)
    ]
    image = torch.cat(rows, dim=1).reshape(n, out_h * kh, out_w * kw, channels)
    rest = [x.shape[2] - out_h * kh, x.shape[3] - out_w * kw]
    if any(rest):
        image = aten.constant_pad_nd.default(image, [0, 0, 0, rest[1], 0, rest[0]], 0.0)
    return image.permute(0, 3, 1, 2)


def _is_disjoint(
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> bool:
    steps = list(stride) or list(kernel_size)
    padded = any(padding) or any(d != 1 for d in dilation) or ceil_mode
    return len(kernel_size) == 2 and steps == list(kernel_size) and not padded


def _places(x: Tensor, kernel_size: Sequence[int]) -> list[Tensor]:
    """`[n, c, h, w]` -> for each place of a window, in order, all windows' pixels `[-1, c]`."""
    kh, kw = kernel_size
    channels, height, width = x.shape[1:]
    out_h, out_w = height // kh, width // kw
    pixels = x.permute(0, 2, 3, 1)[:, : out_h * kh, : out_w * kw]
    run = out_w * kw * channels
    places: list[Tensor] = []
    for row in aten.split.Tensor(pixels.reshape(-1, kh * run), run, 1):
        places += aten.split.Tensor(row.reshape(-1, kw * channels), channels, 1)
    return places
