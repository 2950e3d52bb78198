"""A small vision transformer, in two parts: one that stays frozen, and top layers that may adapt.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, with a stem of strided convolutions
in place of one large patch projection (Xiao et al., "Early Convolutions Help Transformers See
Better", NeurIPS 2021), which few images suffice to train. Images of 28x28 become 4x4 tokens.

The top layers are a pure function of named weights, in plain operations that stay exact under
`torch.func` and export with their gradients.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

STEM_BLOCKS = 3
MLP_RATIO = 2
NORM_EPS = 1e-5

PROJECTIONS = ("query", "key", "value", "join", "widen", "narrow")
"""The matrices of a layer, each `[in, out]`; those of attention first."""


def token_count(input_shape: tuple[int, ...]) -> int:
    """Tokens of one image: every block of the stem halves height and width, rounding up."""
    _, height, width = input_shape
    scale = 2**STEM_BLOCKS
    return int(math.ceil(height / scale) * math.ceil(width / scale))


def check_sizes(width: int, heads: int, depth: int, adapted: int) -> None:
    """Refuse sizes that make no transformer.

    Raises:
        InvalidOptionError: A size is not allowed.
    """
    if width % heads:
        msg = f"hidden must be a multiple of heads, got {width} and {heads}"
        raise InvalidOptionError(msg)
    if adapted > depth:
        msg = f"adapted must be at most depth, got {adapted} and {depth}"
        raise InvalidOptionError(msg)


class Layer(nn.Module):
    """One pre-norm transformer block: `[n, tokens, width]` -> the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        inner = MLP_RATIO * width
        shapes = dict.fromkeys(PROJECTIONS, (width, width))
        shapes |= {"widen": (width, inner), "narrow": (inner, width)}
        self.weights = nn.ParameterDict(
            {name: torch.randn(shape) / math.sqrt(shape[0]) for name, shape in shapes.items()}
        )
        self.biases = nn.ParameterDict(
            {name: torch.zeros(shape[1]) for name, shape in shapes.items()}
        )
        self.attention_norm = Norm(width)
        self.mlp_norm = Norm(width)

    def forward(
        self,
        tokens: Tensor,
        changes: Mapping[str, tuple[Tensor, Tensor]] | None = None,
        prompts: Tensor | None = None,
    ) -> Tensor:
        """Run the block.

        Args:
            tokens: `[n, tokens, width]`.
            changes: Low-rank changes of projections: by name, `[in, rank]` and `[rank, out]`, whose
                product is added to the weight.
            prompts: Further tokens `[num_prompts, width]` that are attended to, and are not given
                back.
        """

        def project(name: str, x: Tensor) -> Tensor:
            out: Tensor = x @ self.weights[name] + self.biases[name]
            if changes is not None and name in changes:
                down, up = changes[name]
                out = out + (x @ down) @ up
            return out

        normal = self.attention_norm(tokens)
        seen = normal
        if prompts is not None:
            # the same for every image; not expand, which would fix n when traced
            row = torch.zeros_like(normal[:, :1]) + self.attention_norm(prompts)
            seen = torch.cat([row, normal], dim=1)
        queries = self._split(project("query", normal))
        keys, values = (self._split(project(name, seen)) for name in ("key", "value"))
        logits = queries @ keys.transpose(-1, -2) * float(queries.shape[-1] ** -0.5)
        read = (torch.softmax(logits, dim=-1) @ values).transpose(1, 2)
        tokens = tokens + project("join", read.reshape(tokens.shape))
        inner = functional.relu(project("widen", self.mlp_norm(tokens)))
        return tokens + project("narrow", inner)

    def _split(self, x: Tensor) -> Tensor:
        """`[n, tokens, width]` -> `[n, heads, tokens, width / heads]`."""
        n, tokens, width = x.shape
        return x.reshape(n, tokens, self.heads, width // self.heads).transpose(1, 2)


class Norm(nn.Module):
    """Layer norm over the last axis, in plain operations (Ba, Kiros, Hinton, 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each vector `[..., width]`."""
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred * centred).mean(-1, keepdim=True)
        return centred * torch.rsqrt(variance + NORM_EPS) * self.gain + self.shift


class FrozenTokens(nn.Module):
    """Stem, places and the lower layers: `[n, c, h, w]` -> `[n, tokens, width]`."""

    def __init__(self, input_shape: tuple[int, ...], width: int, heads: int, depth: int) -> None:
        super().__init__()
        channels = input_shape[0]
        blocks: list[nn.Module] = []
        for _ in range(STEM_BLOCKS):
            blocks += [
                nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width, eps=NORM_EPS),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.stem = nn.Sequential(*blocks)
        # 1.4x faster to train on CPU; changes no value
        self.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.places = nn.Parameter(0.1 * torch.randn(token_count(input_shape), width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Turn images into tokens."""
        maps: Tensor = self.stem(x.contiguous(memory_format=torch.channels_last))
        tokens: Tensor = self.layers(maps.flatten(2).transpose(1, 2) + self.places)
        return tokens


class TopLayers(nn.Module):
    """The layers above, and the mean token: `[n, tokens, width]` -> `[n, width]`."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.layers = tuple(Layer(width, heads) for _ in range(depth))
        self.registered = nn.ModuleList(self.layers)  # the same modules, as torch finds them
        self.norm = Norm(width)

    def forward(
        self,
        tokens: Tensor,
        changes: Mapping[int, Mapping[str, tuple[Tensor, Tensor]]] | None = None,
        prompts: Tensor | None = None,
    ) -> Tensor:
        """Run the layers.

        Args:
            tokens: `[n, tokens, width]`.
            changes: For each layer, as `Layer.forward` takes them.
            prompts: `[layers, num_prompts, width]`: fresh prompts for each layer.
        """
        for i, layer in enumerate(self.layers):
            tokens = layer(
                tokens,
                None if changes is None else changes[i],
                None if prompts is None else prompts[i],
            )
        pooled: Tensor = self.norm(tokens).mean(1)
        return pooled
