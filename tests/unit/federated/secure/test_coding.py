"""What members make of their updates: bounds, noise as claimed, and options that cannot be had."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from edge_sdk.grid import flatten
from edge_sdk.random_words import SeededWords
from federated.privacy.mechanism import plan_noise
from federated.privacy.options import PrivacyOptions
from federated.round_core import RoundOptions
from federated.secure.coding import Coding
from federated.secure.errors import ModulusTooSmallError
from federated.secure.in_process import run_group
from federated.secure.messages import Kind
from federated.secure.options import MaskingOptions, check_masking
from federated.secure.roster import Roster
from federated.secure.session import Session, least_threshold
from tests.support.secure import identity, seeded_bytes

NORM = 2.0
SIZE = 20_000
MASKING = MaskingOptions(roster="r", authority="a")
FIXED = PrivacyOptions(sampling="fixed")


def words(*seed: int) -> SeededWords:
    return SeededWords(np.random.default_rng(seed))


def an_update(seed: int) -> dict[str, np.ndarray]:
    values = np.random.default_rng(seed).normal(size=SIZE)
    return {"w": (values / np.linalg.norm(values) * 0.9 * NORM).astype(np.float32)}


@pytest.mark.parametrize(("members", "leave"), [(10, 0), (10, 3), (6, 0)])
def test_the_noise_of_a_masked_sum_is_the_claimed_one(members: int, leave: int) -> None:
    """(6, 0) is a cohort of ten of which 40 % were not there when groups were formed."""
    options = PrivacyOptions(
        noise="distributed", noise_multiplier=0.8, min_contributors=6, sampling="fixed"
    )
    plan = plan_noise(options, NORM, SIZE)
    assert plan.device is not None
    coding = Coding(
        size=SIZE,
        clipping_norm=NORM,
        steps_in_norm=plan.device.steps_in_norm,
        sigma=plan.device.sigma,
    )
    assert coding.limit == plan.device_limit
    ids = tuple(f"m{i:02d}" for i in range(members))
    keys = {client: identity(i) for i, client in enumerate(ids)}
    session = Session(
        nonce=bytes(32),
        server_round=0,
        members=ids,
        threshold=max(least_threshold(members), options.min_contributors),
        length=SIZE,
        limit=coding.limit,
    )
    updates = {client: an_update(i) for i, client in enumerate(ids)}
    values = {
        client: coding.encode(updates[client], words(7, i))[0] for i, client in enumerate(ids)
    }
    result, _, _ = run_group(
        session,
        keys,
        Roster({client: key.public_key for client, key in keys.items()}),
        values,
        leaves=dict.fromkeys(ids[:leave], Kind.VECTOR),
        random_bytes=seeded_bytes(3),
    )
    assert len(result.contributors) == members - leave
    exact = np.sum([flatten(updates[client]) for client in result.contributors], axis=0)
    noise = coding.decode(result.total) - exact
    assert noise.std() == pytest.approx(plan.deviation(members - leave), rel=0.02)
    assert noise.std() >= 0.98 * options.noise_multiplier * NORM


@pytest.mark.parametrize(
    "coding",
    [
        Coding(size=SIZE, clipping_norm=NORM),
        Coding(size=SIZE, clipping_norm=NORM, steps_in_norm=1 << 14, sigma=3000),
        Coding(size=SIZE, clipping_norm=NORM, bits=8, rotation_seed=b"r" * 32),
        Coding(size=SIZE, clipping_norm=NORM, bits=16),
    ],
)
def test_nothing_that_is_sent_exceeds_the_limit(coding: Coding) -> None:
    huge = {"w": np.full(SIZE, 1e6, np.float32)}
    one = np.zeros(SIZE, np.float32)
    one[3] = -1e30
    for update in (huge, {"w": one}, an_update(1)):
        values, residual = coding.encode(update, words(2))
        assert np.abs(values).max() <= coding.limit
        assert (residual is not None) == bool(coding.bits)


def test_rounding_and_what_it_takes_make_up_the_update() -> None:
    coding = Coding(size=SIZE, clipping_norm=NORM, bits=8, rotation_seed=b"r" * 32)
    update = an_update(4)
    values, residual = coding.encode(update, words(5))
    assert residual is not None
    np.testing.assert_allclose(coding.decode(values) + residual["w"], update["w"], atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"sigma": -1},
        {"sigma": 1 << 25},
        {"sigma": 5, "bits": 8},
        {"bits": 7},
        {"size": 0},
        {"steps_in_norm": 1 << 23},
        {"clipping_norm": float("nan")},
        {"rotation_seed": b"short", "bits": 8},
    ],
)
def test_a_coding_that_cannot_be_had_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError):
        Coding(**{"size": 4, "clipping_norm": 1.0, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("masking", "rounds", "privacy", "says"),
    [
        ({}, {"aggregator": "median"}, None, "single updates"),
        ({"modulus_bits": 16}, {}, None, "larger modulus"),
        ({}, {}, {"sampling": "poisson"}, "amplification"),
        ({}, {}, {"noise": "tree", "tree_rounds": 4}, "central or distributed"),
        ({}, {}, {"target_quantile": 0.5}, "adaptive clipping"),
        ({"value_bits": 8}, {}, {}, "fine grid"),
        ({}, {}, {"noise": "distributed", "min_contributors": 33}, "group_size"),
    ],
)
def test_what_masks_make_impossible_is_refused_before_a_round(
    masking: dict[str, object],
    rounds: dict[str, object],
    privacy: dict[str, object] | None,
    says: str,
) -> None:
    options = MaskingOptions(**{"roster": "r", "authority": "a", **masking})  # type: ignore[arg-type]
    noise = None if privacy is None else PrivacyOptions(**{"sampling": "fixed", **privacy})  # type: ignore[arg-type]
    with pytest.raises((InvalidOptionError, ModulusTooSmallError), match=says):
        check_masking(options, RoundOptions(**rounds), noise)  # type: ignore[arg-type]


def test_what_can_be_had_is() -> None:
    check_masking(MASKING, RoundOptions(), None)
    check_masking(MASKING, RoundOptions(), FIXED)
    eight = MaskingOptions(roster="r", authority="a", value_bits=8, modulus_bits=16)
    check_masking(eight, RoundOptions(), None)


@pytest.mark.parametrize(
    "changes",
    [{"roster": ""}, {"group_size": 2}, {"modulus_bits": 8}, {"value_bits": 4},
     {"stage_deadline_s": 0.0}],
)  # fmt: skip
def test_masking_options_are_checked(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError):
        MaskingOptions(**{"roster": "r", "authority": "a", **changes})  # type: ignore[arg-type]
