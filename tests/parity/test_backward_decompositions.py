"""Backward passes written for speed are exact: batch norm, ReLU, pooling, convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.convolutions import BAND_ELEMENTS, convolution, convolution_backward
from export.decompositions import (
    batch_norm,
    batch_norm_backward,
    threshold_backward,
)
from export.gates import check_parity
from export.learners.base import Learner, LearnerOptions, Role, State, mask_unused
from export.learners.gradient import gradient_step
from export.pooling import max_pool2d_with_indices, max_pool2d_with_indices_backward
from tests.support.exported import export

if TYPE_CHECKING:
    from pathlib import Path

aten = torch.ops.aten


def numbers(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (2, 3)])
@pytest.mark.parametrize("window", [(2, 2), (2, 1), (1, 2)])
def test_pooling_sends_all_of_a_gradient_to_the_first_maximum(
    size: tuple[int, int], window: tuple[int, int]
) -> None:
    for x in (numbers(3, 2, *size), numbers(3, 2, *size).round(), numbers(1, 1, *size) * 0):
        pooled, indices = aten.max_pool2d_with_indices(x, window, window)
        got, places = max_pool2d_with_indices(x, window, window)
        assert torch.equal(got, pooled)
        assert torch.equal(places, indices)
        args = (numbers(*pooled.shape, seed=1), x, window, window, [0, 0], [1, 1], False, indices)
        want = aten.max_pool2d_with_indices_backward(*args)
        assert torch.equal(max_pool2d_with_indices_backward(*args), want)


@pytest.mark.parametrize("band_elements", [40, BAND_ELEMENTS])
@pytest.mark.parametrize("stride", [[1, 1], [2, 2], [2, 1], [3, 3]])
@pytest.mark.parametrize("padding", [[0, 0], [1, 1], [2, 1]])
@pytest.mark.parametrize("channels", [1, 8])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 1), (2, 5)])
def test_convolution(
    monkeypatch: pytest.MonkeyPatch,
    band_elements: int,
    stride: list[int],
    padding: list[int],
    channels: int,
    kernel: tuple[int, int],
) -> None:
    monkeypatch.setattr("export.convolutions.BAND_ELEMENTS", band_elements)
    x, weight = numbers(4, channels, 7, 6), numbers(5, channels, *kernel, seed=1)
    bias, window = numbers(5, seed=2), (stride, padding, [1, 1], False, [0, 0], 1)
    out = functional.conv2d(x, weight, bias, stride=stride, padding=padding)
    got = convolution(x, weight, bias, *window)
    torch.testing.assert_close(got, out, rtol=1e-12, atol=1e-12)
    args = (numbers(*out.shape, seed=3), x, weight, [5], *window, [True] * 3)
    for mine, want in zip(
        convolution_backward(*args), aten.convolution_backward(*args), strict=True
    ):
        torch.testing.assert_close(mine, want, rtol=1e-12, atol=1e-12)


def test_other_convolutions_are_left_alone_or_refused() -> None:
    x, weight = numbers(2, 4, 5, 5), numbers(4, 2, 3, 3, seed=1)
    grouped = ([1, 1], [1, 1], [1, 1], False, [0, 0], 2)
    assert convolution(x, weight, None, *grouped) is NotImplemented
    with pytest.raises(NotImplementedError, match="plain 2-D"):
        convolution_backward(x, x, weight, None, *grouped, [True, True, False])


def test_relu_at_zero() -> None:
    x = torch.tensor([-1.0, -0.0, 0.0, 1e-30, 2.0], dtype=torch.float64)
    grad = torch.arange(1.0, 6.0, dtype=torch.float64)
    assert torch.equal(threshold_backward(grad, x, 0), aten.threshold_backward(grad, x, 0))


def test_batch_norm_forward_and_backward() -> None:
    x, weight, bias = 3 + numbers(4, 5, 3, 2), numbers(5, seed=1), numbers(5, seed=2)
    want = aten._native_batch_norm_legit.no_stats(x, weight, bias, True, 0.0, 1e-5)
    got = batch_norm(x, weight, bias, True, 0.0, 1e-5)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    args = (numbers(*x.shape, seed=3), x, weight, None, None, *want[1:], True, 1e-5, [True] * 3)
    torch.testing.assert_close(
        batch_norm_backward(*args), aten.native_batch_norm_backward(*args), rtol=1e-10, atol=1e-12
    )


def test_other_batch_norms_are_refused() -> None:
    x, ones = numbers(2, 3, 2, 2), torch.ones(3, dtype=torch.float64)
    with pytest.raises(NotImplementedError, match="batch norm"):
        batch_norm(x, None, None, True, 0.0, 1e-5)
    with pytest.raises(NotImplementedError, match="batch statistics"):
        batch_norm_backward(x, x, ones, ones, ones, ones, ones, False, 1e-5, [True] * 3)


class NormedPooledNet(Learner):
    """A convolution, batch norm on batch statistics, ReLU and a pool that leaves a rest."""

    name = "normed"
    adaptation = "gradient"
    has_embed = False
    roles: ClassVar[dict[str, Role]] = {"head": "slot", "counts": "personal"}

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        generator = torch.Generator().manual_seed(0)
        self.conv = nn.Parameter(torch.randn(4, 1, 3, 3, generator=generator))
        self.head = nn.Parameter(0.3 * torch.randn(options.ways, 4 * 4 * 4, generator=generator))

    def init(self, ways: int) -> State:
        return {
            "conv": self.conv.clone(),
            "scale": self.conv.new_ones(4),
            "shift": self.conv.new_full((4,), 0.1),
            "head": self.head[:ways].clone(),
            "counts": self.head.new_zeros(ways),
        }

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        rate = features.new_tensor(0.05)
        rates = dict.fromkeys(("conv", "scale", "shift", "head"), rate)
        return gradient_step(self, state, features, labels, weights, rates)

    def predict(self, state: State, features: Tensor) -> Tensor:
        maps = functional.conv2d(features, state["conv"], padding=1)
        maps = functional.batch_norm(
            maps, None, None, state["scale"], state["shift"], True, 0.0, 0.1
        )
        z = functional.max_pool2d(functional.relu(maps), 2).flatten(1)
        return mask_unused(z @ state["head"].T, state["counts"])


def test_they_pass_the_gate_together(tmp_path: Path) -> None:
    options = LearnerOptions(input_shape=(1, 9, 9), ways=5, steps=2)
    pair = export(NormedPooledNet(options), tmp_path)
    assert check_parity(pair.learner, pair.engine).update_error < 2e-5
