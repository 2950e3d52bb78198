"""Sinusoids: regression on random sine waves, the toy task of few-shot regression.

Finn, Abbeel, Levine, "Model-Agnostic Meta-Learning for Fast Adaptation", ICML 2017, section 5.1.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edge_sdk.errors import InvalidOptionError
from export.tasks.base import SPLITS, check_split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.tasks.functions import FunctionPool


@dataclass(frozen=True, kw_only=True, slots=True)
class SinusoidOptions:
    """Which waves there are; each range is uniform. The defaults are those of the paper.

    Attributes:
        amplitude: Smallest and largest.
        phase: Smallest and largest, in radians.
        x: Where the waves are sampled.
        noise: Standard deviation of normal noise on the values.
    """

    amplitude: tuple[float, float] = (0.1, 5.0)
    phase: tuple[float, float] = (0.0, float(np.pi))
    x: tuple[float, float] = (-5.0, 5.0)
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("amplitude", "phase", "x"):
            low, high = getattr(self, name)
            if not -np.inf < low < high < np.inf:
                msg = f"{name} must be two finite numbers, the smaller one first, got {low}, {high}"
                raise InvalidOptionError(msg)
        if not 0 <= self.noise < np.inf:
            msg = f"noise must be finite and >= 0, got {self.noise}"
            raise InvalidOptionError(msg)


class SinusoidPool:
    """`y = amplitude * sin(x - phase)`."""

    input_shape: tuple[int, ...] = (1,)
    outputs = 1
    description = "one number, -5 to 5"

    def __init__(self, options: SinusoidOptions) -> None:
        self.options = options

    @property
    def task(self) -> Literal["regression"]:
        """What a learner learns from it."""
        return "regression"

    def draw(
        self, functions: int, points: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Inputs and values, float32 `[functions, points, 1]` each."""
        o = self.options
        amplitude = rng.uniform(*o.amplitude, (functions, 1, 1))
        phase = rng.uniform(*o.phase, (functions, 1, 1))
        x = rng.uniform(*o.x, (functions, points, 1))
        y = amplitude * np.sin(x - phase)
        if o.noise > 0:
            y += rng.normal(0, o.noise, y.shape)
        return x.astype(np.float32), y.astype(np.float32)


class SinusoidTasks:
    """All splits draw from one distribution: no wave is ever drawn twice."""

    name = "sinusoids"

    def __init__(self, options: SinusoidOptions | None = None) -> None:
        self.options = options or SinusoidOptions()

    def pool(self, split: str) -> FunctionPool:
        """The waves.

        Raises:
            NoSuchSplitError: `split` is not "train", "validation" or "test".
        """
        check_split(split, SPLITS, self.name)
        return SinusoidPool(self.options)

    def digest(self) -> str:
        """SHA-256 hex over the options."""
        return hashlib.sha256(json.dumps(asdict(self.options), sort_keys=True).encode()).hexdigest()
