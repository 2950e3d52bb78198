"""The private sum: clipped updates on an integer grid, a discrete Gaussian on their sum.

Numpy only. The sum of one round is `step * (sum of integers + noise)`; what a server does with it
afterwards is post-processing. One user changes the sum of integers by at most `sensitivity` in L2
norm, checked in integers, and the noise has `noise multiplier * sensitivity` as its deviation,
rounded up to an integer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.discrete_gaussian import MAX_SIGMA, sample_discrete_gaussian
from edge_sdk.errors import InvalidOptionError
from edge_sdk.grid import Grid, flatten, unflatten
from edge_sdk.update import clip_to_norm
from federated.errors import TooFewContributorsError
from federated.privacy.tree import tree_step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from edge_sdk.random_words import RandomWords
    from federated.privacy.options import PrivacyOptions

_CENTRAL_STEPS = 1 << 20
_DISTRIBUTED_STEPS = 1 << 14
"""Coarse, so that the sum of a large cohort fits the 32 bits that are masked."""
_MIN_SIGMA = 16
"""Far above where a discrete Gaussian, or a sum of several, differs measurably from a Gaussian."""
_TAIL = 12
_LONG = 6
_COUNT_STEPS = 1 << 10
_CLIPPED = 1 - 1e-6
"""A device that clips ends this close to its bound: it rounds toward zero in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceNoise:
    """What each device of a round with distributed noise does to its clipped update.

    Attributes:
        steps_in_norm: Steps of the grid in the clipping norm.
        sigma: Deviation of its own share of the noise, in steps.
    """

    steps_in_norm: int
    sigma: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SumCounts:
    """What happened while a sum was collected, beside what is in it.

    Attributes:
        refused: Messages that were refused, by the code of the error.
        given_up: Groups that gave their sum up, by the code of the error.
        num_missing: Devices asked that are in no sum and did not say why; None where that is all of
            those that neither contributed nor reported an error.
    """

    refused: Mapping[str, int] = field(default_factory=dict)
    given_up: Mapping[str, int] = field(default_factory=dict)
    num_missing: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CohortTotal:
    """What the server has of a round where it sees a sum, and nothing of anyone.

    Attributes:
        num_contributors: How many devices are in the sum.
        failed: Devices that reported an error, by its code.
        counts: What else happened on the way to a masked sum.
    """

    num_contributors: int
    failed: Mapping[str, int]
    counts: SumCounts = field(default_factory=SumCounts)


@dataclass(frozen=True, kw_only=True, slots=True)
class SecureSum(CohortTotal):
    """The sum of a round with noise, on the grid of that noise.

    Attributes:
        total: Sum of what the devices sent, int64 `[size]`.
    """

    total: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedSum(CohortTotal):
    """The sum of a round without noise, in the updates' own units.

    Attributes:
        total: float64 `[size]`.
    """

    total: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoisePlan:
    """The noise of one round.

    Attributes:
        grid: What updates are rounded to.
        sigma: Deviation of the noise on the sum, in steps; what accounting rests on.
        sensitivity: Bound on what one user changes in the sum, in steps.
        device: What each device does, where the noise is distributed.
        min_contributors: How many devices' shares make up `sigma`; 0 where the server adds it, and
            with local noise.
        local: Whether each device's own noise is all that it needs: its update can then be seen.
    """

    grid: Grid
    sigma: int
    sensitivity: float
    device: DeviceNoise | None = None
    min_contributors: int = 0
    local: bool = False

    @property
    def device_limit(self) -> int:
        """Largest absolute number that a device sends; what a modulus must hold for each of them.

        One that draws more noise than this, with a chance under 1e-30, sends nothing.
        """
        noise = 0 if self.device is None else self.device.sigma
        return math.ceil(self.sensitivity + _TAIL * noise)

    @property
    def arriving_norm(self) -> float | None:
        """L2 bound on what arrives from an honest device with local noise, but for 1 in 1e7."""
        if not self.local:
            return None
        longest = self.sensitivity / 2 + self.sigma * (math.sqrt(self.grid.size) + _LONG)
        return longest * self.grid.step

    def deviation(self, num_contributors: int) -> float:
        """Standard deviation of the noise in the released sum, in the updates' own units."""
        if self.device is None:
            return self.sigma * self.grid.step
        return self.device.sigma * math.sqrt(num_contributors) * self.grid.step


def plan_noise(options: PrivacyOptions, clipping_norm: float, size: int) -> NoisePlan:
    """Choose grid and noise for updates of `size` numbers.

    Raises:
        InvalidOptionError: The noise is too small for the grid, or too large for the sampler.
    """
    multiplier = options.update_multiplier
    if options.noise in ("central", "tree"):
        steps = _CENTRAL_STEPS
        while multiplier * steps > MAX_SIGMA / 2 and steps > 1:
            steps //= 2
        grid = Grid(clipping_norm=clipping_norm, steps_in_norm=steps, size=size)
        sigma = math.ceil(multiplier * steps)
        _check_sigma(sigma)
        return NoisePlan(grid=grid, sigma=sigma, sensitivity=float(steps))
    grid = Grid(clipping_norm=clipping_norm, steps_in_norm=_DISTRIBUTED_STEPS, size=size)
    sensitivity = math.sqrt(grid.stochastic_bound_squared)
    if options.noise == "local":
        sigma = math.ceil(multiplier * 2 * sensitivity)
        _check_sigma(sigma)
        device = DeviceNoise(steps_in_norm=_DISTRIBUTED_STEPS, sigma=sigma)
        return NoisePlan(
            grid=grid, sigma=sigma, sensitivity=2 * sensitivity, device=device, local=True
        )
    share = math.ceil(multiplier * sensitivity / math.sqrt(options.min_contributors))
    _check_sigma(share)
    return NoisePlan(
        grid=grid,
        sigma=math.ceil(share * math.sqrt(options.min_contributors)),
        sensitivity=sensitivity,
        device=DeviceNoise(steps_in_norm=_DISTRIBUTED_STEPS, sigma=share),
        min_contributors=options.min_contributors,
    )


def noised_contribution(
    delta: Mapping[str, NDArray[np.float32]],
    clipping_norm: float,
    noise: DeviceNoise,
    random: RandomWords,
) -> NDArray[np.int64]:
    """What a device sends in a round with distributed noise: clipped, rounded, noised integers.

    Args:
        delta: Its update, float32, one array a tensor.
        clipping_norm: The round's bound.
        noise: The round's grid and share.
        random: The operating system's randomness.

    Returns:
        int64 `[size]`, for one sum only.
    """
    flat = flatten(clip_to_norm(delta, clipping_norm))
    grid = Grid(clipping_norm=clipping_norm, steps_in_norm=noise.steps_in_norm, size=len(flat))
    rounded = grid.stochastic(flat, random)
    return rounded + sample_discrete_gaussian(noise.sigma, len(flat), random)


def noised_update(
    delta: Mapping[str, NDArray[np.float32]],
    clipping_norm: float,
    noise: DeviceNoise,
    random: RandomWords,
) -> dict[str, NDArray[np.float32]]:
    """What a device sends in a round with local noise: the same, back in the update's own units."""
    values = noised_contribution(delta, clipping_norm, noise, random)
    flat = (values * (clipping_norm / noise.steps_in_norm)).astype(np.float32)
    return unflatten(flat, {name: value.shape for name, value in delta.items()})


def local_rho(noise: DeviceNoise, clipping_norm: float, size: int) -> float:
    """What one round with local noise costs its user: rho of zero-concentrated privacy.

    Raises:
        InvalidOptionError: There is no such grid, or no noise.
    """
    grid = Grid(clipping_norm=clipping_norm, steps_in_norm=noise.steps_in_norm, size=size)
    if noise.sigma < _MIN_SIGMA:
        msg = f"noise of deviation {noise.sigma} steps is too little to be accounted for"
        raise InvalidOptionError(msg)
    return 4 * grid.stochastic_bound_squared / (2 * noise.sigma**2)


def sum_on_grid(
    updates: Iterable[Mapping[str, NDArray[np.float32]]], grid: Grid
) -> NDArray[np.int64]:
    """Exact sum of clipped updates, rounded toward zero onto the grid; int64 `[size]`."""
    total = np.zeros(grid.size, np.int64)
    for delta in updates:
        grid.add_toward_zero(delta, total)
    return total


def release(total: NDArray[np.int64], plan: NoisePlan, random: RandomWords) -> NDArray[np.float64]:
    """Add the server's noise to an exact sum: the one place where a central sum is released."""
    noise = sample_discrete_gaussian(plan.sigma, plan.grid.size, random)
    return (total + noise).astype(np.float64) * plan.grid.step


def release_in_tree(
    total: NDArray[np.int64],
    plan: NoisePlan,
    nodes: Mapping[str, NDArray[np.int64]],
    leaf: int,
    random: RandomWords,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]:
    """Like `release`, with the noise that round `leaf` of a tree (from 1) adds to those before.

    Returns:
        The released sum, and the tree's noises, which stay on the server.
    """
    kept, noise = tree_step(nodes, leaf, plan.sigma, plan.grid.size, random)
    return (total + noise).astype(np.float64) * plan.grid.step, kept


def release_noised(received: SecureSum, plan: NoisePlan) -> NDArray[np.float64]:
    """Read a sum that the devices have noised.

    Raises:
        TooFewContributorsError: Its noise is less than the accounted one.
        InvalidOptionError: It has another size.
    """
    if received.num_contributors < plan.min_contributors:
        msg = (
            f"{received.num_contributors} devices took part, the noise needs "
            f"{plan.min_contributors}; the sum is not released: ask more devices, or lower "
            "min_contributors for the next run"
        )
        raise TooFewContributorsError(msg)
    if received.total.shape != (plan.grid.size,) or received.total.dtype != np.int64:
        msg = f"a sum must be int64 [{plan.grid.size}]"
        raise InvalidOptionError(msg)
    return received.total.astype(np.float64) * plan.grid.step


def next_clipping_norm(
    norms: Iterable[float],
    clipping_norm: float,
    options: PrivacyOptions,
    denominator: float,
    random: RandomWords,
) -> float:
    """Move the bound toward the target quantile of the updates' norms, privately.

    Geometric steps from a noised count, as in Andrew et al. 2021, algorithm 1; but an update under
    the bound counts 1 - q and one over it -q, with q the target. The sum is zero at the quantile
    however many users drop out, where a share of a fixed number would not be: with a half of them
    gone no bound has the share 0.8 under it, and the bound would grow without end. One user changes
    the sum by the larger of q and 1 - q.
    """
    over = -round(options.target_quantile * _COUNT_STEPS)
    under = over + _COUNT_STEPS
    count = sum(under if norm < clipping_norm * _CLIPPED else over for norm in norms)
    sigma = math.ceil(options.count_multiplier * max(under, -over))
    _check_sigma(sigma)
    noised = count + int(sample_discrete_gaussian(sigma, 1, random)[0])
    excess = min(max(noised / (_COUNT_STEPS * denominator), -1.0), 1.0)
    return clipping_norm * math.exp(-options.quantile_rate * excess)


def _check_sigma(sigma: int) -> None:
    if not _MIN_SIGMA <= sigma <= MAX_SIGMA:
        msg = (
            f"noise of deviation {sigma} steps cannot be had on this grid; raise or lower "
            "noise_multiplier, or lower min_contributors"
        )
        raise InvalidOptionError(msg)
