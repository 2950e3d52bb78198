"""Convolutions and their gradients as gathers and matrix products.

ONNX Runtime multiplies one large matrix nearly twice as fast as it convolves a batch of small
images with weights that change. Pixels are rows and channels are columns throughout (channels
last), so that whole runs of channels are copied and every matrix is used as it lies; the permutes
at both ends cancel in `export.channels_last`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

aten = torch.ops.aten

GATHER_CHANNELS = 8
"""From this many channels on, im2col gathers pixels in place of slicing and joining images."""

BAND_ELEMENTS = 32 << 10
"""Numbers of one example's columns that are worked on at once: with some 25 examples they stay in
a core's own cache, where the products run up to twice as fast, and never take much memory."""


def convolution(  # the signature of aten::convolution
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    """A plain 2-D convolution as im2col and one matrix product; any other kind is left as it is.

    The columns are those that the weight's gradient needs too, and are computed once for both.
    """
    if not _is_plain(weight, dilation, transposed, output_padding, groups):
        return NotImplemented
    out_channels = weight.shape[0]
    out_w = _output_size(x, weight, stride, padding)[1]
    kernel = weight.permute(0, 2, 3, 1).reshape(out_channels, -1).T
    bands = [
        (columns @ kernel if bias is None else torch.addmm(bias, columns, kernel)).reshape(
            x.shape[0], len(rows), out_w, out_channels
        )
        for rows, columns in _im2col(x, weight.shape[2:], stride, padding)
    ]
    return _cat(bands, 1).permute(0, 3, 1, 2)


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
    if not _is_plain(weight, dilation, transposed, output_padding, groups):
        msg = "only plain 2-D convolutions have an exportable backward pass"
        raise NotImplementedError(msg)
    grad_x = grad_weight = grad_bias = None
    if output_mask[0]:
        grad_x = _input_gradient(grad_output, x, weight, stride, padding)
    if output_mask[1]:
        out_channels, channels, kh, kw = weight.shape
        image = grad_output.permute(0, 2, 3, 1)
        total: Tensor | None = None
        for rows, columns in _im2col(x, (kh, kw), stride, padding):
            grads = image[:, rows.start : rows.stop].reshape(-1, out_channels).T
            total = grads @ columns if total is None else torch.addmm(total, grads, columns)
        by_tap = cast("Tensor", total).reshape(out_channels, kh, kw, channels)
        grad_weight = by_tap.permute(0, 3, 1, 2)
    if output_mask[2]:
        grad_bias = grad_output.sum((0, 2, 3))
    return grad_x, grad_weight, grad_bias


def _is_plain(
    weight: Tensor,
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> bool:
    plain = groups == 1 and not transposed and not any(output_padding)
    return plain and weight.dim() == 4 and all(d == 1 for d in dilation)


def _output_size(
    x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]
) -> list[int]:
    sizes = zip(x.shape[2:], weight.shape[2:], stride, padding, strict=True)
    return [(size + 2 * p - k) // s + 1 for size, k, s, p in sizes]


def _im2col(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Iterator[tuple[range, Tensor]]:
    """`[n, c, h, w]` -> bands of rows of the output, with their columns `[-1, kh * kw * c]`.

    One `Gather` does it where the runs of channels are long enough; else strided slices, joined.
    """
    channels, height, width = x.shape[1:]
    kh, kw = kernel
    out_h = (height + 2 * padding[0] - kh) // stride[0] + 1
    out_w = (width + 2 * padding[1] - kw) // stride[1] + 1
    pixels = x.permute(0, 2, 3, 1)
    if kh == kw == 1 and list(stride) == [1, 1] and not any(padding):
        yield range(out_h), pixels.reshape(-1, channels)
        return
    padded = _pad(pixels, [padding[0]] * 2, [padding[1]] * 2)
    if channels >= GATHER_CHANNELS:
        columns = range(0, out_w * stride[1], stride[1]), range(kw)
        for band in _bands(out_h, out_w * kh * kw * channels):
            rows = range(band.start * stride[0], band.stop * stride[0], stride[0]), range(kh)
            yield band, _gather(padded, rows, columns)
        return
    taps = [
        padded[
            :,
            i : i + (out_h - 1) * stride[0] + 1 : stride[0],
            j : j + (out_w - 1) * stride[1] + 1 : stride[1],
        ]
        for i in range(kh)
        for j in range(kw)
    ]
    yield range(out_h), torch.cat(taps, dim=3).reshape(-1, kh * kw * channels)


def _bands(count: int, row: int) -> list[range]:
    """Cut `count` rows of `row` numbers into bands of about equal size that stay in the cache."""
    num_bands = min(count, -(-count * row // BAND_ELEMENTS))
    edges = [count * i // num_bands for i in range(num_bands + 1)]
    return [range(start, stop) for start, stop in pairwise(edges)]


def _cat(parts: list[Tensor], dim: int) -> Tensor:
    return torch.cat(parts, dim=dim) if len(parts) > 1 else parts[0]


def _input_gradient(
    grad_output: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """A transposed convolution, one plain one for each phase of the stride.

    The input's pixels that lie equally far from the stride's grid see the same taps of the kernel,
    so that no product with an inserted zero is ever computed (Shi et al., "Is the deconvolution
    layer the same as a convolutional layer?", 2016).
    """
    out_channels, channels, kh, kw = weight.shape
    n, _, height, width = x.shape
    axes = [
        Phases(*sizes)
        for sizes in zip(
            (height, width), grad_output.shape[2:], (kh, kw), stride, padding, strict=True
        )
    ]
    padded = _pad(grad_output.permute(0, 2, 3, 1), axes[0].padding, axes[1].padding)
    kernels = weight.permute(2, 3, 0, 1).reshape(kh * kw, out_channels, channels)
    rows: list[Tensor] = []
    for phase in axes[0].phases:
        blocks = []
        for other in axes[1].phases:
            if not (phase.taps and other.taps):  # a stride wider than the kernel skips pixels
                count = n * len(axes[0].starts) * len(axes[1].starts)
                blocks.append(grad_output.new_zeros((count, channels)))
                continue
            taps = _indices(phase.taps, x)[:, None] * kw + _indices(other.taps, x)
            chosen = aten.index_select.default(kernels, 0, taps.reshape(-1))
            kernel = chosen.reshape(-1, channels)
            places = axes[1].starts, other.offsets
            bands = []
            for band in _bands(len(axes[0].starts), len(axes[1].starts) * kernel.shape[0]):
                starts = axes[0].starts[band.start : band.stop]
                columns = _gather(padded, (starts, phase.offsets), places)
                bands.append((columns @ kernel).reshape(n, -1, channels))
            blocks.append(_cat(bands, 1).reshape(-1, channels))
        # side by side, the phases of a row's pixels are that row
        rows.append(_cat(blocks, 1).reshape(-1, len(axes[1].starts) * stride[1] * channels))
    image = _cat(rows, 1)
    image = image.reshape(
        n, len(axes[0].starts) * stride[0], len(axes[1].starts) * stride[1], channels
    )
    return image[:, :height, :width].permute(0, 3, 1, 2)


class Phase(NamedTuple):
    """The taps that pixel u of a phase meets, and the outputs u + offset they lead to."""

    taps: range
    offsets: range


class Phases:
    """Along one axis, the phases of the input's pixels under a stride.

    Attributes:
        phases: One for each residue of a pixel's place by the stride.
        starts: Places of the first phase's pixels u, in padded outputs; the same for the others,
            some of which may lie past the end of the axis.
        padding: Outputs that are missing before the first and behind the last.
    """

    def __init__(self, size: int, out: int, kernel: int, stride: int, padding: int) -> None:
        self.phases = []
        for residue in range(stride):
            first = (residue + padding) % stride  # pixel u * stride + residue is tap t of an output
            taps = range(first, kernel, stride)  # iff t = residue + padding modulo the stride
            offset = (residue + padding - first) // stride
            self.phases.append(Phase(taps, range(offset, offset - len(taps), -1)))
        count = -(-size // stride)
        offsets = [offset for phase in self.phases for offset in phase.offsets]
        before = max(0, -min(offsets))
        self.starts = range(before, before + count)
        self.padding = [before, max(0, count + max(offsets) - out)]


def _pad(pixels: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """Zeros around `[n, h, w, c]`; not functional.pad: tracing through it fixes the batch size."""
    if not any((*rows, *columns)):
        return pixels
    return cast("Tensor", aten.constant_pad_nd.default(pixels, [0, 0, *columns, *rows], 0.0))


def _indices(places: range, like: Tensor) -> Tensor:
    """As arithmetic on the graph's own constants, so that equal ones are found to be equal."""
    return torch.arange(places.start, places.stop, places.step, device=like.device)


def _gather(image: Tensor, rows: tuple[range, range], columns: tuple[range, range]) -> Tensor:
    """Pixels (start + offset) of `[n, h, w, c]`, by row and column, `[n * starts, offsets * c]`."""
    n, height, width, channels = image.shape
    row_places, column_places = (
        _indices(starts, image)[:, None] + _indices(offsets, image)
        for starts, offsets in (rows, columns)
    )
    places = row_places[:, None, :, None] * width + column_places[None, :, None, :]
    pixels = image.reshape(n, height * width, channels)
    gathered = cast("Tensor", aten.index_select.default(pixels, 1, places.reshape(-1)))
    return gathered.reshape(-1, len(rows[1]) * len(columns[1]) * channels)
