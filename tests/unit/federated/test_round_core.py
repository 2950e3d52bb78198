from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.errors import DivergedError, InvalidOptionError
from edge_sdk.update import ModelUpdate, joint_norm
from federated.round_core import (
    Refusal,
    Reply,
    RoundOptions,
    RoundTask,
    apply_round,
    run_rounds,
    sample_cohort,
)

DIGEST = "d" * 64
SHARED = {"bias": np.zeros(2, np.float32), "weight": np.ones((2, 3), np.float32)}


def a_task(cohort: tuple[str, ...] = ("a", "b", "c"), clipping_norm: float = 100.0) -> RoundTask:
    return RoundTask(
        server_round=3,
        cohort=cohort,
        shared=SHARED,
        bundle_digest=DIGEST,
        clipping_norm=clipping_norm,
        steps=None,
    )


def a_delta(value: float) -> dict[str, np.ndarray]:
    return {name: np.full(tensor.shape, value, np.float32) for name, tensor in SHARED.items()}


def a_reply(client_id: str, value: float = 1.0) -> Reply:
    return Reply(client_id=client_id, update=ModelUpdate(DIGEST, a_delta(value)))


def test_the_step_is_the_uniform_mean_times_the_server_rate() -> None:
    shared, report = apply_round(a_task(), [a_reply("a", 1), a_reply("b", 4)], server_lr=0.5)

    np.testing.assert_allclose(shared["bias"], 1.25)
    np.testing.assert_allclose(shared["weight"], 2.25)
    assert (report.num_accepted, report.num_missing, report.num_sampled) == (2, 1, 3)
    assert report.step_norm == pytest.approx(1.25 * np.sqrt(8))
    assert report.mean_update_norm == pytest.approx(2.5 * np.sqrt(8))
    assert report.refused == report.failed == {}


def test_the_order_of_arrival_does_not_change_a_bit() -> None:
    rng = np.random.default_rng(0)
    clients = [f"c{i}" for i in range(20)]
    replies = [
        Reply(
            client_id=client,
            update=ModelUpdate(
                DIGEST,
                {k: rng.normal(size=v.shape).astype(np.float32) for k, v in SHARED.items()},
            ),
        )
        for client in clients
    ]
    task = a_task(tuple(clients))
    forward, _ = apply_round(task, replies, server_lr=1.0)
    backward, _ = apply_round(task, replies[::-1], server_lr=1.0)
    for name in SHARED:
        np.testing.assert_array_equal(forward[name], backward[name])


def test_the_server_clips_what_a_client_did_not() -> None:
    shared, report = apply_round(
        a_task(clipping_norm=1.0), [a_reply("a", 50), a_reply("b", 0)], server_lr=1.0
    )

    moved = {name: shared[name] - SHARED[name] for name in SHARED}
    assert joint_norm(moved) == pytest.approx(0.5, rel=1e-6)
    assert report.num_clipped == 1


def without_bias(delta: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"weight": delta["weight"]}


def with_personal(delta: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**delta, "counts": np.ones(2, np.float32)}


def transposed(delta: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**delta, "weight": np.ascontiguousarray(delta["weight"].T)}


def broadcastable(delta: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**delta, "weight": delta["weight"][:1]}


def as_float64(delta: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**delta, "bias": delta["bias"].astype(np.float64)}


def with_nan(delta: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**delta, "bias": np.array([0, np.nan], np.float32)}


def with_inf(delta: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**delta, "bias": np.array([np.inf, 0], np.float32)}


BAD = [
    (without_bias, Refusal.WRONG_NAMES),
    (with_personal, Refusal.WRONG_NAMES),
    (transposed, Refusal.WRONG_SHAPE),
    (broadcastable, Refusal.WRONG_SHAPE),
    (as_float64, Refusal.WRONG_DTYPE),
    (with_nan, Refusal.NON_FINITE),
    (with_inf, Refusal.NON_FINITE),
]


@pytest.mark.parametrize(("damage", "reason"), BAD)
def test_a_bad_update_is_refused_and_the_others_count(damage, reason) -> None:
    bad = Reply(client_id="a", update=ModelUpdate(DIGEST, damage(a_delta(1.0))))
    shared, report = apply_round(a_task(), [bad, a_reply("b", 2.0)], server_lr=1.0)

    assert report.refused == {reason: 1}
    assert report.num_accepted == 1
    np.testing.assert_array_equal(shared["bias"], [2, 2])


@pytest.mark.parametrize(("damage", "reason"), BAD)
def test_a_round_of_bad_updates_changes_nothing(damage, reason) -> None:
    bad = Reply(client_id="a", update=ModelUpdate(DIGEST, damage(a_delta(1.0))))
    shared, report = apply_round(a_task(), [bad], server_lr=1.0)

    assert report.refused == {reason: 1}
    assert (report.num_accepted, report.step_norm) == (0, 0.0)
    for name, before in SHARED.items():
        np.testing.assert_array_equal(shared[name], before)


def test_another_bundle_strangers_and_repetition_are_refused() -> None:
    replies = [
        Reply(client_id="a", update=ModelUpdate("e" * 64, a_delta(9.0))),
        a_reply("b", 1.0),
        a_reply("b", 9.0),
        a_reply("stranger", 9.0),
    ]
    shared, report = apply_round(a_task(), replies, server_lr=1.0)

    assert report.refused == {"duplicate": 1, "not_sampled": 1, "wrong_bundle": 1}
    assert report.num_missing == 1
    np.testing.assert_array_equal(shared["bias"], [1, 1])


def test_a_refused_update_does_not_block_a_good_one_of_the_same_client() -> None:
    bad = Reply(client_id="a", update=ModelUpdate(DIGEST, with_nan(a_delta(1.0))))
    _, report = apply_round(a_task(), [bad, a_reply("a")], server_lr=1.0)
    assert report.num_accepted == 1


def test_failures_are_counted_by_their_code() -> None:
    replies = [
        Reply(client_id="a", failure="empty_support"),
        Reply(client_id="b", failure="crashed"),
        Reply(client_id="c", failure=Refusal.MALFORMED),
    ]
    shared, report = apply_round(a_task(), replies, server_lr=1.0)

    assert report.failed == {"crashed": 1, "empty_support": 1}
    assert report.refused == {"malformed": 1}
    assert report.num_missing == 0
    np.testing.assert_array_equal(shared["bias"], SHARED["bias"])


def test_a_step_out_of_float32_is_an_error() -> None:
    with pytest.raises(DivergedError, match="lower server_lr"):
        apply_round(a_task(clipping_norm=1e30), [a_reply("a", 1e29)], server_lr=1e30)


def test_the_cohort_depends_on_the_set_of_clients_and_the_seed_only() -> None:
    clients = [f"c{i}" for i in range(30)]

    def draw(ids: list[str], seed: int) -> tuple[str, ...]:
        return sample_cohort(ids, 7, np.random.default_rng(seed))

    first = draw(clients, 1)
    assert first == draw(clients[::-1], 1) == draw([*clients, *clients], 1)
    assert first != draw(clients, 2)
    assert list(first) == sorted(set(first))
    assert len(first) == 7


def test_a_small_fleet_takes_part_whole_and_an_empty_one_is_refused() -> None:
    assert sample_cohort(["b", "a"], 5, np.random.default_rng(0)) == ("a", "b")
    with pytest.raises(InvalidOptionError, match="no client"):
        sample_cohort([], 5, np.random.default_rng(0))


def test_rounds_go_on_from_each_other_and_leave_the_start_alone() -> None:
    seen = []

    def collect(task: RoundTask) -> list[Reply]:
        seen.append((task.server_round, float(task.shared["bias"][0]), task.cohort))
        return [a_reply(client, 1.0) for client in task.cohort]

    start = {name: value.copy() for name, value in SHARED.items()}
    options = RoundOptions(rounds=3, cohort_size=2, clipping_norm=100.0, seed=5)
    told = []
    result = run_rounds(
        start, ["a", "b", "c", "d"], DIGEST, options, collect, lambda r, s: told.append((r, s))
    )

    assert [(number, bias) for number, bias, _ in seen] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert len({cohort for _, _, cohort in seen}) > 1
    np.testing.assert_array_equal(result.shared["bias"], [3, 3])
    np.testing.assert_array_equal(start["bias"], [0, 0])
    assert [report.server_round for report in result.reports] == [0, 1, 2]
    assert [report for report, _ in told] == list(result.reports)


@pytest.mark.parametrize(
    "options",
    [
        {"rounds": 0},
        {"rounds": 1.5},
        {"cohort_size": 0},
        {"cohort_size": True},
        {"seed": -1},
        {"steps": 0},
        {"server_lr": 0.0},
        {"server_lr": float("nan")},
        {"clipping_norm": float("inf")},
        {"clipping_norm": -1.0},
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError, match=next(iter(options))):
        RoundOptions(**options)  # type: ignore[arg-type]
