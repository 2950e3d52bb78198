"""Channels move last where permutes cancel, and nothing that is computed changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx

from export.channels_last import channels_last
from export.decompositions import decomposition_table
from export.tracing import trace

aten = torch.ops.aten
LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def both(function: object, *examples: Tensor) -> tuple[fx.GraphModule, fx.GraphModule]:
    batched = [i == 0 for i in range(len(examples))]
    traced = trace(function, examples, batched, decomposition_table())  # type: ignore[arg-type]
    return traced, channels_last(traced)


def permutes(module: fx.GraphModule) -> int:
    return sum(node.target is aten.permute.default for node in module.graph.nodes)


def between(x: Tensor, vector: Tensor) -> Tensor:
    """As between two convolutions: pointwise work and sums, with permutes at both ends."""
    first = x.permute(FIRST)
    centred = first - first.mean((0, 2, 3), keepdim=True)
    scaled = torch.relu(centred * vector[:, None, None] + vector.reshape(1, -1, 1, 1))
    pooled = scaled.mean((2, 3), keepdim=True).expand(-1, -1, 4, 5)
    return torch.where(scaled > 0, pooled - scaled, 1.0).permute(LAST)


def test_permutes_that_meet_cancel_and_values_stay() -> None:
    x, vector = numbers(7, 4, 5, 3), numbers(3)
    before, after = both(between, x, vector)
    assert permutes(before) == 2
    assert permutes(after) <= 1  # only of one number an image and channel
    torch.testing.assert_close(after(x, vector), before(x, vector), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.permute(FIRST).reshape(x.shape[0], -1) * 2,  # another order must not show
        lambda x: x.permute(FIRST).sum((0, 1)),  # what stays is in another order
        lambda x: x.permute(FIRST) + x.permute(FIRST)[:, :1],  # neither whole nor one a channel
        lambda x: torch.relu(x.permute(FIRST)).softmax(1),
        lambda x: (x.permute(FIRST) * 2).permute(1, 0, 2, 3),
    ],
)
def test_what_cannot_move_stays_as_it_was(function: object) -> None:
    x = numbers(7, 4, 5, 3)
    before, after = both(function, x)
    torch.testing.assert_close(after(x), before(x), rtol=1e-5, atol=1e-6)


def test_a_convolution_and_its_neighbours_keep_no_permute_of_an_image() -> None:
    def net(x: Tensor, kernel: Tensor) -> Tensor:
        maps = torch.nn.functional.conv2d(x, kernel, padding=1)
        maps = torch.nn.functional.max_pool2d(torch.relu(maps), 2)
        return torch.nn.functional.conv2d(maps, kernel).sum((0, 2, 3))

    x, kernel = numbers(7, 8, 6, 6), numbers(8, 8, 3, 3)
    before, after = both(net, x, kernel)
    torch.testing.assert_close(after(x, kernel), before(x, kernel), rtol=1e-4, atol=1e-4)
    assert permutes(before) > permutes(after)
    images = [
        node
        for node in after.graph.nodes
        if node.target is aten.permute.default
        and len(node.args[1]) == 4
        and node.args[0].op != "placeholder"
    ]
    assert not images
