"""`export.backbones.conv4.conv4` for many tasks at once, each with weights of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.backbones.conv4 import NORM_EPS, NORM_GROUPS, NUM_BLOCKS
from export.batched.convolution import convolve
from export.batched.norm import Norm, normalised_relu

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def channels_last(weight: Tensor) -> Tensor:
    """A convolution's weights `[..., out, in, h, w]` -> `[..., out, h, w, in]`, contiguous."""
    return weight.movedim(-3, -1).contiguous()


def conv4_of_tasks(
    weights: Mapping[str, Tensor], x: Tensor, *, groups: int = NORM_GROUPS
) -> Tensor:
    """Features `[tasks, n, feature_dim]` of images `[tasks, n, channels, height, width]`.

    Args:
        weights: Those of `conv4_weights`, with a first axis of tasks, convolutions by
            `channels_last`.
        x: The images of each task.
        groups: Of group norm.
    """
    maps = x.movedim(2, -1).contiguous()
    for i in range(NUM_BLOCKS):
        maps = convolve(maps, weights[f"conv{i}.weight"], stride=2, padding=1)
        scale, shift = weights[f"norm{i}.weight"], weights[f"norm{i}.bias"]
        norm = Norm(maps.shape[-1] // groups, NORM_EPS)
        maps = normalised_relu(maps.flatten(2, 3), scale, shift, norm).view(maps.shape)
    return maps.movedim(-1, 2).flatten(2)
