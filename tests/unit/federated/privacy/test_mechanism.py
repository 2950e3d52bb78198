"""The private sum's parts: options, noise on its grid, quantile tracking."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from edge_sdk.random_words import SeededWords, SystemWords
from edge_sdk.update import clip_to_norm, joint_norm
from federated.privacy.mechanism import (
    next_clipping_norm,
    noised_contribution,
    plan_noise,
    release,
    sum_on_grid,
)
from federated.privacy.options import PrivacyOptions


def seeded(server_round: int, purpose: str) -> SeededWords:
    return SeededWords(np.random.default_rng([server_round, *purpose.encode()]))


@pytest.mark.parametrize("factor", [0.1, 10.0])
@pytest.mark.parametrize("missing", [0, 50])
@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8])
def test_adaptive_clipping_finds_the_quantile_whoever_drops_out(
    factor: float, quantile: float, missing: int
) -> None:
    rng = np.random.default_rng(3)
    norms = rng.lognormal(0.0, 0.5, size=100)
    true = float(np.quantile(norms, quantile))
    options = PrivacyOptions(target_quantile=quantile, noise_multiplier=1.0)
    bound = factor * true
    # a round moves the bound by what is there of it: a half takes twice as long
    for number in range(100 if missing == 0 else 250):
        there = rng.permutation(norms)[missing:]
        clipped = [
            joint_norm(clip_to_norm({"x": np.array([norm], np.float32)}, bound)) for norm in there
        ]
        bound = next_clipping_norm(clipped, bound, options, 100.0, seeded(number, "q"))
    assert bound == pytest.approx(true, rel=0.2)


def test_the_quantile_is_paid_from_the_same_budget() -> None:
    options = PrivacyOptions(target_quantile=0.5, noise_multiplier=2.0)
    together = options.update_multiplier**-2 + options.count_multiplier**-2
    assert together**-0.5 == pytest.approx(2.0)
    assert options.update_multiplier > 2.0


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_multiplier": 0.0},
        {"noise_multiplier": math.inf},
        {"delta": 0.0},
        {"epsilon": -1.0},
        {"sampling": "shuffled"},
        {"noise": "distributed"},
        {"min_contributors": 3},
        {"target_quantile": 1.0},
        {"count_noise_multiplier": 0.5},
        {"accountant": "guess"},
    ],
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError):
        PrivacyOptions(**changes)  # type: ignore[arg-type]


def test_noise_that_a_grid_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="noise_multiplier"):
        plan_noise(PrivacyOptions(noise_multiplier=1e-7), 1.0, 10)
    huge = plan_noise(PrivacyOptions(noise_multiplier=1000.0), 1.0, 10)
    assert huge.sigma >= 1000 * huge.sensitivity


def test_the_systems_noise_differs_from_release_to_release() -> None:
    plan = plan_noise(PrivacyOptions(), 1.0, 10)
    total = sum_on_grid([], plan.grid)
    first, second = (release(total, plan, SystemWords()) for _ in range(2))
    assert (first != second).any()


def test_what_a_device_sends_is_within_its_limit() -> None:
    options = PrivacyOptions(noise="distributed", min_contributors=4, sampling="fixed")
    plan = plan_noise(options, 1.0, 5000)
    assert plan.device is not None
    delta = {"x": np.zeros(5000, np.float32)}
    delta["x"][0] = 1.0
    sent = noised_contribution(delta, 1.0, plan.device, seeded(0, "device"))
    assert np.abs(sent).max() < plan.device_limit < 2**31 / 1000  # a thousand of them fit 32 bits
    assert sent[1:].std() == pytest.approx(plan.device.sigma, rel=0.05)
