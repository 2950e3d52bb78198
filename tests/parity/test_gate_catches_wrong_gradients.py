"""A wrong backward pass does not get past the gate: max-pooling, right and deliberately wrong."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.decompositions import decomposition_table
from export.errors import GateError
from export.gates import GateOptions, check_embed, check_parity
from export.learners.base import Learner, LearnerOptions, Role, State, mask_unused
from export.learners.gradient import gradient_step
from export.learners.registry import make_learner
from tests.support.exported import Exported, export

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

aten = torch.ops.aten


class PooledNet(Learner):
    """MAML on one convolution and a max-pool: small, and its pool sees flat windows."""

    name = "pooled"
    adaptation = "gradient"
    has_embed = False
    roles: ClassVar[dict[str, Role]] = {"head": "slot", "counts": "personal"}

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        generator = torch.Generator().manual_seed(0)
        self.conv = nn.Parameter(torch.randn(3, 1, 3, 3, generator=generator))
        self.head = nn.Parameter(torch.randn(options.ways, 3 * 4 * 4, generator=generator))

    def init(self, ways: int) -> State:
        return {
            "conv": self.conv.clone(),
            "head": self.head[:ways].clone(),
            "counts": self.head.new_zeros(ways),
        }

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        rate = features.new_tensor(0.05)
        return gradient_step(self, state, features, labels, weights, {"conv": rate, "head": rate})

    def predict(self, state: State, features: Tensor) -> Tensor:
        maps = functional.conv2d(features, state["conv"], padding=1)
        z = functional.max_pool2d(maps, 2).flatten(
            1
        )  # 9x9 -> 4x4: a row and a column are left over
        return mask_unused(z @ state["head"].T, state["counts"])


class Unmasked(PooledNet):
    """The same, but what it ships predicts slots that are not in use."""

    adapting = False

    def adapt(
        self, state: State, features: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[State, Tensor]:
        self.adapting = True
        try:
            return super().adapt(state, features, labels, weights)
        finally:
            self.adapting = False

    def predict(self, state: State, features: Tensor) -> Tensor:
        counts = state["counts"] if self.adapting else torch.ones_like(state["counts"])
        return super().predict({**state, "counts": counts}, features)


def equality_mask_backward(  # what is often written, and wrong where a window has ties
    grad_output: Tensor,
    x: Tensor,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    del stride, padding, dilation, ceil_mode, indices
    size = kernel_size[0]
    n, c, out, _ = grad_output.shape
    used = x[:, :, : out * size, : out * size].reshape(n, c, out, size, out, size)
    hit = (used == used.amax((3, 5), keepdim=True)).to(x.dtype)
    grads = (hit * grad_output[:, :, :, None, :, None]).reshape(n, c, out * size, out * size)
    rest = x.shape[2] - out * size
    padded: Tensor = aten.constant_pad_nd.default(grads, [0, rest, 0, rest], 0.0)
    return padded


OPTIONS = LearnerOptions(input_shape=(1, 9, 9), ways=5, steps=2)


def test_the_right_max_pool_passes(tmp_path: Path) -> None:
    pair = export(PooledNet(OPTIONS), tmp_path)
    report = check_parity(pair.learner, pair.engine)
    assert report.update_error < 1e-5


def test_an_equality_mask_max_pool_is_caught(tmp_path: Path) -> None:
    table = decomposition_table()
    table[aten.max_pool2d_with_indices_backward.default] = equality_mask_backward
    pair = export(PooledNet(OPTIONS), tmp_path, table=table)
    with pytest.raises(GateError, match=r"adapt\.onnx: conv on (blank|flat|tied) input"):
        check_parity(pair.learner, pair.engine)


def test_noise_alone_would_not_have_caught_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = decomposition_table()
    table[aten.max_pool2d_with_indices_backward.default] = equality_mask_backward
    pair = export(PooledNet(OPTIONS), tmp_path, table=table)

    def only_noise(
        shape: tuple[int, ...], options: GateOptions, rng: np.random.Generator
    ) -> list[tuple[str, np.ndarray]]:
        n = options.ways * options.shots
        return [("noise", rng.random((n, *shape), dtype=np.float32))]

    monkeypatch.setattr("export.gates.gate_inputs", only_noise)
    check_parity(pair.learner, pair.engine)


def test_slots_that_are_not_in_use_must_stay_masked(tmp_path: Path) -> None:
    options = dataclasses.replace(OPTIONS, ways=6)  # the gate teaches five
    wrong = export(Unmasked(options), tmp_path)
    with pytest.raises(GateError, match=r"predict\.onnx: logits"):
        check_parity(PooledNet(options), wrong.engine)


def test_wrong_features_are_caught(exported: Callable[[str], Exported]) -> None:
    pair = exported("prototypical")
    assert 0 < check_embed(pair.learner, pair.engine) < 1e-5
    other = make_learner("prototypical", pair.learner.options, seed=4)
    with pytest.raises(GateError, match=r"embed\.onnx: features of noise input"):
        check_embed(other, pair.engine)


def test_a_limit_that_is_not_met_stops_the_export(tmp_path: Path) -> None:
    pair = export(PooledNet(OPTIONS), tmp_path)
    strict = dataclasses.replace(GateOptions(), update_limit=1e-12)
    with pytest.raises(GateError, match="nothing was written"):
        check_parity(pair.learner, pair.engine, strict)
