"""The frozen backbones by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError
from export.backbones.conv4 import FrozenConv4, GroupNormConv4
from export.backbones.resnet_lite import ResNetLite, ShiftedResNetLite

if TYPE_CHECKING:
    from collections.abc import Callable

Backbone = FrozenConv4 | GroupNormConv4 | ResNetLite
"""A module `[n, *input_shape]` -> `[n, dim]` that says its `dim`."""

BACKBONES: dict[str, Callable[[tuple[int, ...], int], Backbone]] = {
    "conv4": FrozenConv4,
    "conv4-groupnorm": GroupNormConv4,
    "resnet-lite": ResNetLite,
    "resnet-lite-shifts": ShiftedResNetLite,
}


def make_backbone(name: str, input_shape: tuple[int, ...], hidden: int) -> Backbone:
    """Build a backbone with fresh weights from torch's generator.

    Raises:
        InvalidOptionError: No backbone has this name.
    """
    if name not in BACKBONES:
        msg = f"no backbone is called {name!r}; there are {', '.join(sorted(BACKBONES))}"
        raise InvalidOptionError(msg)
    return BACKBONES[name](input_shape, hidden)
