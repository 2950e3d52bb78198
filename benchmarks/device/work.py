"""The work that every runtime is given: data, networks and starting weights. Needs numpy only.

All float32, plain SGD, mean softmax cross-entropy, 25 examples of 5 classes, 5 steps:

  A   features `[25, 64]`, a linear layer 64 -> 5, rate 0.1
  B   images `[25, 1, 28, 28]`, conv-4: four times (3x3 convolution, stride 2, 64 channels; batch
      norm on batch statistics; ReLU), mean over space, linear 64 -> 5; all is trained, rate 0.4
  Bp  the same with stride 1 and a 2x2 max-pool behind each ReLU, rate 0.1
  C   images `[25, 3, 64, 64]`, a small MobileNet (3x3, depthwise 3x3 and 1x1 convolutions, ReLU6),
      mean over space, linear 256 -> 5; only the last 1x1 convolution and the linear layer are
      trained, rate 0.5
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

STEPS, BATCH, WAYS, DIM, BLOCKS = 5, 25, 5, 64, 4
TASKS = ("A", "B", "Bp", "C")
RATES = {"A": 0.1, "B": 0.4, "Bp": 0.1, "C": 0.5}
SHAPES = {"A": (DIM,), "B": (1, 28, 28), "Bp": (1, 28, 28), "C": (3, 64, 64)}
NORM_EPS = 1e-5
CLIP = 6.0

MOBILE_LAYERS: tuple[tuple[Literal["full", "depthwise", "pointwise"], int, int, int], ...] = (
    # kind, channels in, channels out, stride
    ("full", 3, 16, 2),
    ("depthwise", 16, 16, 1), ("pointwise", 16, 32, 1),
    ("depthwise", 32, 32, 2), ("pointwise", 32, 64, 1),
    ("depthwise", 64, 64, 1), ("pointwise", 64, 64, 1),
    ("depthwise", 64, 64, 2), ("pointwise", 64, 128, 1),
    ("depthwise", 128, 128, 1), ("pointwise", 128, 256, 1),
)  # fmt: skip

REFERENCE_LOSSES = {  # PyTorch eager, before each step
    "A": [1.60944, 0.77991, 0.42593, 0.2782, 0.20357],
    "B": [1.72824, 0.15541, 0.08716, 0.06501, 0.05251],
    "Bp": [2.01359, 0.52552, 0.01204, 0.00912, 0.00762],
    "C": [1.65793, 1.62256, 1.61064, 1.6035, 1.598],
}
LOSS_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Layer:
    """One convolution and what follows it.

    Attributes:
        kernel: `[out, in / groups, size, size]`.
        bias: `[out]`.
        stride: In both directions.
        groups: 1, or the channels of a depthwise convolution.
        norm: Scale and shift, each `[out]`, of a batch norm on batch statistics; None: there is
            none.
        clip: Where the ReLU that comes next is cut off; None: nowhere.
        pool: Whether a 2x2 max-pool comes last.
        trained: Whether adapting changes it.
    """

    kernel: np.ndarray
    bias: np.ndarray
    stride: int
    groups: int = 1
    norm: tuple[np.ndarray, np.ndarray] | None = None
    clip: float | None = None
    pool: bool = False
    trained: bool = True

    @property
    def padding(self) -> int:
        """On each side."""
        return self.kernel.shape[2] // 2

    def tensors(self) -> dict[str, np.ndarray]:
        """Its tensors by name."""
        named = {"kernel": self.kernel, "bias": self.bias}
        if self.norm is not None:
            named["scale"], named["shift"] = self.norm
        return named


@dataclass(frozen=True)
class Network:
    """Layers, a mean over space where there are any, and a linear layer `[dim, ways]`, `[ways]`."""

    layers: tuple[Layer, ...]
    weight: np.ndarray
    bias: np.ndarray

    def tensors(self, *, trained: bool) -> dict[str, np.ndarray]:
        """Tensors that are trained, or those that are not, by name: `kernel0`, ..., `w`, `b`."""
        named = {
            f"{name}{i}": array
            for i, layer in enumerate(self.layers)
            if layer.trained == trained
            for name, array in layer.tensors().items()
        }
        return named | ({"w": self.weight, "b": self.bias} if trained else {})


def network(task: str) -> Network:
    """The task's network with its starting weights."""
    rng = np.random.default_rng(7)

    def draw(shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        return (rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)

    bias = np.zeros(WAYS, np.float32)
    if task == "A":
        return Network((), np.zeros((DIM, WAYS), np.float32), bias)
    layers = []
    if task == "C":
        for i, (kind, channels, out, stride) in enumerate(MOBILE_LAYERS):
            groups = channels if kind == "depthwise" else 1
            size = 1 if kind == "pointwise" else 3
            shape = (out, channels // groups, size, size)
            kernel = draw(shape, shape[1] * size * size)
            last = i == len(MOBILE_LAYERS) - 1
            zeros = np.zeros(out, np.float32)
            layers.append(Layer(kernel, zeros, stride, groups, clip=CLIP, trained=last))
        return Network(tuple(layers), draw((256, WAYS), 256), bias)
    for channels in (1, DIM, DIM, DIM):
        kernel = draw((DIM, channels, 3, 3), channels * 9)
        zeros, ones = np.zeros(DIM, np.float32), np.ones(DIM, np.float32)
        stride = 2 if task == "B" else 1
        layers.append(Layer(kernel, zeros, stride, norm=(ones, zeros), pool=task == "Bp"))
    return Network(tuple(layers), draw((DIM, WAYS), DIM), bias)


def support(task: str) -> tuple[np.ndarray, np.ndarray]:
    """Examples, float32 `[25, ...]`, and classes, int64 `[25]`."""
    rng = np.random.default_rng(11)
    classes = np.repeat(np.arange(WAYS), BATCH // WAYS).astype(np.int64)
    centres = rng.standard_normal((WAYS, *SHAPES[task])).astype(np.float32)
    noise = rng.standard_normal((BATCH, *SHAPES[task])).astype(np.float32)
    x = centres[classes] + 0.5 * noise
    return np.ascontiguousarray(0.5 * x if task == "C" else x, np.float32), classes
