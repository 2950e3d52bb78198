"""Conv-4, the standard few-shot backbone: four 3x3 convolutions with stride 2.

Two forms of one architecture (Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS
2016; strides in place of pooling as in Finn et al., "Model-Agnostic Meta-Learning", ICML 2017): a
frozen module with batch norm, and a pure function of named weights, with group norm, for learners
that adapt them all (and as a frozen module, `GroupNormConv4`, from which they can start).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_sdk.errors import InvalidOptionError

NUM_BLOCKS = 4
NORM_EPS = 1e-5
NORM_GROUPS = 8


def feature_dim(input_shape: tuple[int, ...], hidden: int) -> int:
    """Length of the flattened features: every block halves height and width, rounding up."""
    _, height, width = input_shape
    scale = 2**NUM_BLOCKS
    return int(hidden * math.ceil(height / scale) * math.ceil(width / scale))


class FrozenConv4(nn.Module):
    """Conv-4 with batch norm: `[n, c, h, w]` -> `[n, feature_dim]`.

    Batch norm uses running statistics in eval mode, so that a prediction never depends on what
    else is in the batch; the exporter folds it into the convolutions. Never run this under
    `torch.func.vmap`: second-order gradients through `F.batch_norm` are wrong there.
    """

    def __init__(self, input_shape: tuple[int, ...], hidden: int) -> None:
        super().__init__()
        self.dim = feature_dim(input_shape, hidden)
        channels = input_shape[0]
        blocks: list[nn.Module] = []
        for _ in range(NUM_BLOCKS):
            blocks += [
                nn.Conv2d(channels, hidden, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(hidden, eps=NORM_EPS),
                nn.ReLU(inplace=True),
            ]
            channels = hidden
        self.blocks = nn.Sequential(*blocks)
        # 1.4x faster to train on CPU; changes no value
        self.blocks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Embed images."""
        maps: Tensor = self.blocks(x.contiguous(memory_format=torch.channels_last))
        return maps.flatten(1)


def conv4_weights(
    input_shape: tuple[int, ...], hidden: int, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Fresh weights of the functional form, He-normal (He et al., ICCV 2015)."""
    weights: dict[str, Tensor] = {}
    channels = input_shape[0]
    for i in range(NUM_BLOCKS):
        shape = (hidden, channels, 3, 3)
        deviation = math.sqrt(2 / (channels * 9))
        weights[f"conv{i}.weight"] = torch.randn(shape, generator=generator) * deviation
        weights[f"norm{i}.weight"] = torch.ones(hidden)
        weights[f"norm{i}.bias"] = torch.zeros(hidden)
        channels = hidden
    return weights


def conv4(weights: dict[str, Tensor], x: Tensor, *, groups: int = NORM_GROUPS) -> Tensor:
    """Functional conv-4 with group norm (Wu & He, ECCV 2018): `[n, c, h, w]` -> `[n, feature_dim]`.

    Group norm looks at one example at a time, so predictions do not depend on the batch (the usual
    MAML code normalises over the query batch, which a device that sees one image at a time cannot
    do).
    """
    for i in range(NUM_BLOCKS):
        x = functional.conv2d(x, weights[f"conv{i}.weight"], stride=2, padding=1)
        x = _group_norm(x, weights[f"norm{i}.weight"], weights[f"norm{i}.bias"], groups)
        x = functional.relu(x)
    return x.flatten(1)


class GroupNormConv4(nn.Module):
    """The function `conv4` with weights of its own: `[n, c, h, w]` -> `[n, dim]`.

    Its weights are those that MAML and its kin adapt, so what is learned here is a start for them.

    Raises:
        InvalidOptionError: `hidden` is no multiple of `NORM_GROUPS`.
    """

    def __init__(self, input_shape: tuple[int, ...], hidden: int) -> None:
        super().__init__()
        if hidden % NORM_GROUPS:
            msg = f"hidden must be a multiple of {NORM_GROUPS} for group norm, got {hidden}"
            raise InvalidOptionError(msg)
        self.dim = feature_dim(input_shape, hidden)
        weights = conv4_weights(input_shape, hidden)
        # names hold dots, which ParameterDict refuses as keys
        self.names = tuple(weights)
        self.body = nn.ParameterList(weights.values())

    def weights(self) -> dict[str, Tensor]:
        """As `conv4` takes them."""
        return dict(zip(self.names, self.body, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Embed images."""
        return conv4(self.weights(), x)


def _group_norm(x: Tensor, scale: Tensor, shift: Tensor, groups: int) -> Tensor:
    """In plain operations: exact under vmap to any order, and exportable."""
    n, channels, height, width = x.shape
    grouped = x.reshape(n, groups, channels // groups * height * width)
    centred = grouped - grouped.mean(-1, keepdim=True)
    variance = (centred * centred).mean(-1, keepdim=True)
    normal = (centred * torch.rsqrt(variance + NORM_EPS)).reshape(n, channels, height, width)
    return normal * scale[:, None, None] + shift[:, None, None]
