"""The work: tasks, and the network in the form that learn2learn and higher take.

Strided conv-4-64: four times (3x3 convolution with stride 2, batch norm on the batch's own
statistics, ReLU), mean over space, linear head. The convolutions have no bias: batch norm would
take it away again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

HIDDEN, BLOCKS, NORM_EPS = 64, 4, 1e-5
WAYS, META_BATCH = 5, 32
RATES = {1: 0.4, 5: 0.1}
"""Step size for each number of inner steps."""


@dataclass(frozen=True)
class Tasks:
    """One-shot tasks: `[tasks, ways, 1, 28, 28]` images and `[tasks, ways]` labels, twice."""

    support: Tensor
    support_y: Tensor
    query: Tensor
    query_y: Tensor

    def __iter__(self) -> object:
        return zip(self.support, self.support_y, self.query, self.query_y, strict=True)


def draw_tasks(num_tasks: int, seed: int) -> Tasks:
    """Random images, each class a blurred prototype and noise; as many queries as supports."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_tasks, WAYS, 1, 28, 28)
    prototypes = torch.rand(shape, generator=generator, dtype=torch.get_default_dtype())

    def images() -> Tensor:
        noise = torch.randn(shape, generator=generator, dtype=torch.get_default_dtype())
        return prototypes + 0.3 * noise

    labels = torch.arange(WAYS).expand(num_tasks, WAYS).contiguous()
    return Tasks(images(), labels, images(), labels)


class Conv4(nn.Module):
    """The network; `body` gives `[n, 64]` features."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            blocks: list[nn.Module] = []
            channels = 1
            for _ in range(BLOCKS):
                blocks += [
                    nn.Conv2d(channels, HIDDEN, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(HIDDEN, eps=NORM_EPS, track_running_stats=False),
                    nn.ReLU(),
                ]
                channels = HIDDEN
            self.body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.head = nn.Linear(HIDDEN, WAYS)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of `[n, 1, 28, 28]` images."""
        logits: Tensor = self.head(self.body(x))
        return logits
