"""Whole sessions: the sum is exact whoever leaves, and given up where too few are left."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.errors import DtypeMismatchError, InvalidOptionError, ShapeMismatchError
from federated.secure.errors import (
    ModulusTooSmallError,
    NotAMemberError,
    OutOfOrderError,
    TooFewMembersError,
)
from federated.secure.groups import GroupOptions, form_groups, open_sessions
from federated.secure.in_process import run_cohort, run_group
from federated.secure.messages import Kind
from federated.secure.session import check_capacity, least_threshold
from tests.support.secure import STAGES, Group, make_group, seeded_bytes


def total_of(group: Group, members: tuple[str, ...]) -> np.ndarray:
    return np.sum([group.values[member] for member in members], axis=0)


@pytest.mark.parametrize("modulus_bits", [16, 32, 64])
def test_all_stay(modulus_bits: int) -> None:
    group = make_group(modulus_bits=modulus_bits)
    result, traffic, failed = run_group(group.session, group.keys, group.roster, group.values)
    assert result.contributors == group.session.members
    np.testing.assert_array_equal(result.total, total_of(group, group.session.members))
    assert not failed
    largest_vector = group.session.vector_bytes
    assert all(traffic.sent[member] > largest_vector for member in group.session.members)


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("stage", STAGES, ids=lambda kind: kind.name)
def test_the_sum_is_exact_with_drop_outs(stage: Kind, share: float) -> None:
    group = make_group(20)
    order = np.random.default_rng(7).permutation(20)
    gone = [group.session.members[i] for i in order[: int(20 * share)]]
    result, _, failed = run_group(
        group.session, group.keys, group.roster, group.values, leaves=dict.fromkeys(gone, stage)
    )
    counted = stage in (Kind.TAGS, Kind.REVEALED)  # whoever leaves then has sent its vector
    expected = tuple(m for m in group.session.members if counted or m not in gone)
    assert result.contributors == expected
    np.testing.assert_array_equal(result.total, total_of(group, expected))
    assert not failed


def test_the_sum_is_exact_with_drop_outs_at_all_stages_at_once() -> None:
    group = make_group(32)
    leaves = dict(zip(group.session.members[::3], STAGES * 2, strict=False))
    result, _, _ = run_group(group.session, group.keys, group.roster, group.values, leaves=leaves)
    late = (Kind.TAGS, Kind.REVEALED)
    expected = tuple(m for m in group.session.members if leaves.get(m, Kind.TAGS) in late)
    assert result.contributors == expected
    np.testing.assert_array_equal(result.total, total_of(group, expected))


@pytest.mark.parametrize("stage", STAGES, ids=lambda kind: kind.name)
def test_under_the_threshold_the_sum_is_given_up(stage: Kind) -> None:
    group = make_group(9).run_to(stage)
    gone = set(group.session.members[:3])  # six are left, seven must be
    with pytest.raises(TooFewMembersError, match="6 members"):
        group.step(gone)
    assert group.server.stage is None
    with pytest.raises(OutOfOrderError):
        _ = group.server.result
    with pytest.raises(OutOfOrderError):
        group.server.advance()
    with pytest.raises(OutOfOrderError):
        group.server.receive("m08", b"")


def test_who_is_awaited() -> None:
    group = make_group(4)
    group.server.receive("m01", group.answer("m01"))
    assert group.server.waiting_for == ("m00", "m02", "m03")


@pytest.mark.parametrize("modulus_bits", [16, 32])
def test_the_largest_values_of_the_largest_group_do_not_overflow(modulus_bits: int) -> None:
    limit = ((1 << (modulus_bits - 1)) - 1) // 3
    group = make_group(3, limit=limit, modulus_bits=modulus_bits)
    for sign in (1, -1):
        values = dict.fromkeys(group.session.members, np.full(20, sign * limit))
        result, _, _ = run_group(group.session, group.keys, group.roster, values)
        np.testing.assert_array_equal(result.total, np.full(20, sign * 3 * limit))
    with pytest.raises(ModulusTooSmallError, match="smaller groups"):
        make_group(3, limit=limit + 1, modulus_bits=modulus_bits)


@pytest.mark.parametrize(
    ("num", "limit", "bits", "fits"),
    [(256, 127, 16, True), (259, 127, 16, False), (256, 32767, 32, True), (3, 1 << 62, 64, False)],
)
def test_capacity(num: int, limit: int, bits: int, *, fits: bool) -> None:
    if fits:
        check_capacity(num, limit, bits)
    else:
        with pytest.raises(ModulusTooSmallError):
            check_capacity(num, limit, bits)


@pytest.mark.parametrize(("num", "least"), [(3, 3), (4, 3), (10, 7), (30, 21), (32, 22)])
def test_the_threshold_is_more_than_two_thirds(num: int, least: int) -> None:
    assert least_threshold(num) == least


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (np.zeros(20, np.float32), DtypeMismatchError),
        (np.zeros(19, np.int64), ShapeMismatchError),
        (np.full(20, 101), InvalidOptionError),
        (np.full(20, -101, np.int32), InvalidOptionError),
        ([0] * 20, DtypeMismatchError),
    ],
)
def test_values_are_checked_before_anything_is_sent(values: object, error: type[Exception]) -> None:
    group = make_group(4).run_to(Kind.VECTOR)
    with pytest.raises(error):
        group.clients["m02"].mask(group.inbox["m02"], values)
    group.step()  # the same client goes on with good values
    assert "m02" not in group.server.waiting_for or group.server.stage is Kind.TAGS


def test_groups_are_equal_random_and_cover_the_cohort(rng: np.random.Generator) -> None:
    ids = [f"c{i}" for i in range(70)]
    groups = form_groups(ids, 32, rng)
    assert sorted(map(len, groups)) == [23, 23, 24]
    assert sorted(sum(groups, ())) == sorted(ids)
    assert form_groups(ids, 32, rng) != groups
    for few in ([], ids[:2]):
        with pytest.raises(InvalidOptionError):
            form_groups(few, 32, rng)
    with pytest.raises(InvalidOptionError):
        GroupOptions(size=2)
    with pytest.raises(InvalidOptionError):
        GroupOptions(modulus_bits=24)


def test_a_cohort_of_groups_loses_the_group_that_gives_up(rng: np.random.Generator) -> None:
    group = make_group(20)
    sessions = open_sessions(
        group.session.members, GroupOptions(size=5), server_round=0, length=20, limit=100, rng=rng
    )
    assert len({session.nonce for session in sessions}) == 4
    lost = sessions[1].members
    result = run_cohort(
        sessions,
        group.keys,
        group.roster,
        group.values,
        leaves=dict.fromkeys(lost[:2], Kind.VECTOR),
        random_bytes=seeded_bytes(1),
    )
    expected = tuple(m for m in group.session.members if m not in lost)
    assert result.contributors == expected
    assert result.failed == {"too_few_members": 1}
    np.testing.assert_array_equal(result.total, total_of(group, expected))
    assert set(result.traffic.sent) == set(expected)


def test_a_client_refuses_a_group_that_is_small_or_not_its_own() -> None:
    group = make_group(4)
    client = type(group.clients["m00"])
    with pytest.raises(NotAMemberError, match="wants 5"):
        client(group.session, "m00", group.keys["m00"], group.roster, min_members=5)
    with pytest.raises(NotAMemberError):
        client(group.session, "m09", group.keys["m00"], group.roster)
