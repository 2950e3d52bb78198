"""Private rounds of the core: the noise is the claimed one, and no client has more influence."""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.discrete_gaussian import sample_discrete_gaussian
from edge_sdk.errors import InvalidOptionError
from edge_sdk.grid import flatten
from edge_sdk.random_words import SeededWords
from edge_sdk.update import ModelUpdate, clip_to_norm, joint_norm
from federated.errors import BudgetExhaustedError, TooFewContributorsError
from federated.privacy.mechanism import noised_contribution, plan_noise, release_noised
from federated.privacy.options import PrivacyOptions
from federated.round_core import (
    PrivateRounds,
    Refusal,
    Reply,
    RoundOptions,
    RoundTask,
    RunState,
    SecureSum,
    run_rounds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DIGEST = "d" * 64
CLIENTS = [f"c{i:03d}" for i in range(100)]
SHARED = {"a": np.zeros((200, 50), np.float32), "b": np.zeros(1, np.float32)}
OPTIONS = RoundOptions(rounds=1, cohort_size=20, clipping_norm=2.0)


def seeded(server_round: int, purpose: str) -> SeededWords:
    return SeededWords(np.random.default_rng([server_round, *purpose.encode()]))


def private(**changes: object) -> PrivateRounds:
    options = PrivacyOptions(**{"noise_multiplier": 1.0, **changes})  # type: ignore[arg-type]
    return PrivateRounds(
        options=options, charge=lambda _: None, settle=lambda _: None, words=seeded
    )


def update(scale: float = 1.0) -> ModelUpdate:
    delta = {name: np.full_like(value, scale) for name, value in SHARED.items()}
    return ModelUpdate(DIGEST, clip_to_norm(delta, OPTIONS.clipping_norm))


class Watched(ModelUpdate):
    """One that a weak reference can watch."""

    __slots__ = ("__weakref__",)


def honest(task: RoundTask) -> list[Reply]:
    return [Reply(client_id=client, update=update()) for client in task.cohort]


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_central_noise_is_what_is_claimed_whoever_drops_out(missing: float) -> None:
    asked: list[int] = []

    def collect(task: RoundTask) -> list[Reply]:
        replies = honest(task)
        asked.append(len(replies) - int(missing * len(replies)))
        return replies[: asked[-1]]

    result = run_rounds(SHARED, CLIENTS, DIGEST, OPTIONS, collect, privacy=private())
    (report,) = result.reports
    exact = asked[0] * flatten(update().delta).astype(np.float64)
    noise = flatten(result.shared) * report.denominator - exact
    assert report.noise_deviation == pytest.approx(1.0 * OPTIONS.clipping_norm, rel=1e-6)
    assert noise.std() == pytest.approx(report.noise_deviation, rel=0.02)
    assert report.denominator == 20  # whoever dropped out
    assert report.mean_update_norm is None


def test_a_private_round_keeps_no_update() -> None:
    """Replies are used as they come: however large the cohort, one is in memory at a time."""
    alive: weakref.WeakSet[ModelUpdate] = weakref.WeakSet()
    most = 0

    def collect(task: RoundTask) -> Iterator[Reply]:
        nonlocal most
        for client in task.cohort:
            sent = Watched(DIGEST, update().delta)
            alive.add(sent)
            most = max(most, len(alive))
            yield Reply(client_id=client, update=sent)
            del sent

    result = run_rounds(SHARED, CLIENTS, DIGEST, OPTIONS, collect, privacy=private())
    assert result.reports[0].num_accepted > 10
    assert most <= 2  # the one before is let go of when the next has come


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_distributed_noise_is_never_below_the_claim(missing: float) -> None:
    seen: list[int] = []

    def collect(task: RoundTask) -> SecureSum:
        there = task.cohort[: len(task.cohort) - int(missing * len(task.cohort))]
        assert task.device_noise is not None
        seen.append(len(there))
        return SecureSum(
            total=sum(
                noised_contribution(
                    update().delta, task.clipping_norm, task.device_noise, seeded(0, client)
                )
                for client in there
            ),
            num_contributors=len(there),
            failed={},
        )

    options = private(noise="distributed", min_contributors=12, sampling="fixed")
    result = run_rounds(SHARED, CLIENTS, DIGEST, OPTIONS, collect, privacy=options)
    (report,) = result.reports
    assert seen == [20 if missing == 0 else 12]
    noise = flatten(result.shared) * 20 - seen[0] * flatten(update().delta).astype(np.float64)
    assert noise.std() == pytest.approx(report.noise_deviation, rel=0.02)
    accounted = options.options.noise_multiplier * OPTIONS.clipping_norm
    assert report.noise_deviation >= accounted
    if missing:
        assert report.noise_deviation == pytest.approx(accounted, rel=0.02)


def test_a_sum_with_too_little_noise_is_not_released() -> None:
    kept: list[RunState] = []
    options = private(noise="distributed", min_contributors=12, sampling="fixed")

    def collect(task: RoundTask) -> SecureSum:
        size = sum(value.size for value in task.shared.values())
        return SecureSum(total=np.zeros(size, np.int64), num_contributors=11, failed={})

    result = run_rounds(
        SHARED, CLIENTS, DIGEST, OPTIONS, collect, privacy=options, keep=kept.append
    )
    (report,) = result.reports
    assert (report.num_accepted, report.given_up) == (0, {"too_few_contributors": 1})
    assert report.step_norm == 0
    for name, value in SHARED.items():
        np.testing.assert_array_equal(result.shared[name], value)
    assert [state.next_round for state in kept] == [1]  # the run goes on with the next round
    plan = plan_noise(options.options, OPTIONS.clipping_norm, 4)
    few = SecureSum(total=np.zeros(4, np.int64), num_contributors=11, failed={})
    with pytest.raises(TooFewContributorsError, match="11 devices"):
        release_noised(few, plan)


def bad(**changes: object) -> ModelUpdate:
    good = update()
    delta = dict(good.delta)
    for name, value in changes.items():
        delta[name] = value  # type: ignore[assignment] # noqa: PERF403
    return replace(good, delta=delta)


NAN = np.full(1, np.nan, np.float32)
HOSTILE = {
    "nan": (Reply(client_id="", update=bad(b=NAN)), Refusal.NON_FINITE),
    "inf": (Reply(client_id="", update=bad(b=NAN * 0 + np.inf)), Refusal.NON_FINITE),
    "oversize": (Reply(client_id="", update=bad(b=np.zeros(9, np.float32))), Refusal.WRONG_SHAPE),
    "another tensor": (Reply(client_id="", update=bad(z=NAN)), Refusal.WRONG_NAMES),
    "float64": (Reply(client_id="", update=bad(b=np.zeros(1))), Refusal.WRONG_DTYPE),
    "stale": (Reply(client_id="", update=update(), server_round=7), Refusal.STALE),
    "another bundle": (
        Reply(client_id="", update=ModelUpdate("e" * 64, update().delta)),
        Refusal.WRONG_BUNDLE,
    ),
    "malformed": (Reply(client_id="", failure="malformed"), Refusal.MALFORMED),
}


@pytest.mark.parametrize("noised", [False, True])
@pytest.mark.parametrize(("hostile", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_reply_leaves_the_model_as_it_would_be_without_it(
    hostile: Reply, reason: Refusal, *, noised: bool
) -> None:
    def run(replies: Sequence[Reply]) -> tuple[dict[str, np.ndarray], Counter[str]]:
        def collect(task: RoundTask) -> list[Reply]:
            own = [replace(reply, client_id=task.cohort[0]) for reply in replies]
            return [*own, *honest(task)[1:]]

        result = run_rounds(
            SHARED, CLIENTS, DIGEST, OPTIONS, collect, privacy=private() if noised else None
        )
        return result.shared, Counter(result.reports[0].refused)

    want, none = run([])
    got, refused = run([hostile])
    assert not none
    assert refused == {reason: 1}
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


def test_a_zero_update_a_duplicate_and_a_stranger_move_nothing() -> None:
    zero = ModelUpdate(DIGEST, {name: np.zeros_like(v) for name, v in SHARED.items()})

    def collect(task: RoundTask) -> list[Reply]:
        first = Reply(client_id=task.cohort[0], update=zero)
        stranger = Reply(client_id="stranger", update=update())
        return [first, Reply(client_id=task.cohort[0], update=update()), stranger]

    result = run_rounds(SHARED, CLIENTS, DIGEST, OPTIONS, collect)
    assert result.reports[0].refused == {"duplicate": 1, "not_sampled": 1}
    assert all((value == 0).all() for value in result.shared.values())


def test_no_client_moves_the_mean_more_than_any_other_whatever_it_claims() -> None:
    """A million examples would show as a huge update: there is no other place for the claim."""

    def moved(scale: float) -> float:
        def collect(task: RoundTask) -> list[Reply]:
            delta = {name: np.full_like(v, scale) for name, v in SHARED.items()}
            return [Reply(client_id=task.cohort[0], update=ModelUpdate(DIGEST, delta))]

        def nobody(_: RoundTask) -> list[Reply]:
            return []

        with_, without = (
            run_rounds(SHARED, CLIENTS, DIGEST, OPTIONS, each, privacy=private())
            for each in (collect, nobody)
        )
        difference = {k: with_.shared[k] - without.shared[k] for k in SHARED}
        return joint_norm(difference)

    share = OPTIONS.clipping_norm / OPTIONS.cohort_size
    assert moved(1e6) == pytest.approx(share, rel=1e-3)
    assert moved(1.0) == pytest.approx(share, rel=1e-3)
    assert moved(1e-9) < share / 1000


def test_the_released_sum_is_the_pipelines_definition() -> None:
    """`check -> clip -> grid -> sum -> noise -> divide`, written out a second time."""
    replies: list[Reply] = []

    def collect(task: RoundTask) -> list[Reply]:
        rng = np.random.default_rng(5)
        for client in task.cohort:
            delta = {k: rng.normal(size=v.shape).astype(np.float32) for k, v in SHARED.items()}
            replies.append(Reply(client_id=client, update=ModelUpdate(DIGEST, delta)))
        return replies[::-1]

    result = run_rounds(SHARED, CLIENTS, DIGEST, OPTIONS, collect, privacy=private())
    step = OPTIONS.clipping_norm / 2**20
    total = np.zeros(10_001, np.int64)
    for reply in replies:
        assert reply.update is not None
        values = np.concatenate([reply.update.delta[k].ravel() for k in ("a", "b")])
        clipped = clip_to_norm({"x": values}, OPTIONS.clipping_norm)["x"].astype(np.float64)
        total += np.trunc(clipped * (2**20 / OPTIONS.clipping_norm)).astype(np.int64)
    noise = sample_discrete_gaussian(2**20, 10_001, seeded(0, "noise"))
    want = (total + noise) * step / OPTIONS.cohort_size
    np.testing.assert_array_equal(flatten(result.shared), want.astype(np.float32))


def test_adaptive_rounds_move_the_bound_of_the_next_round() -> None:
    options = replace(OPTIONS, rounds=3, clipping_norm=0.01)
    asked: list[float] = []

    def collect(task: RoundTask) -> list[Reply]:
        asked.append(task.clipping_norm)
        delta = {name: np.full_like(v, 1.0) for name, v in SHARED.items()}
        return [
            Reply(client_id=c, update=ModelUpdate(DIGEST, clip_to_norm(delta, asked[-1])))
            for c in task.cohort
        ]

    result = run_rounds(
        SHARED, CLIENTS, DIGEST, options, collect, privacy=private(target_quantile=0.5)
    )
    assert asked[0] < asked[1] < asked[2]
    assert [report.clipping_norm for report in result.reports] == asked


def test_an_exhausted_budget_stops_before_anybody_is_asked() -> None:
    asked: list[int] = []

    def charge(server_round: int) -> None:
        if server_round == 2:
            raise BudgetExhaustedError

    def collect(task: RoundTask) -> list[Reply]:
        asked.append(task.server_round)
        return honest(task)

    kept: list[RunState] = []
    with pytest.raises(BudgetExhaustedError):
        run_rounds(
            SHARED, CLIENTS, DIGEST, replace(OPTIONS, rounds=5), collect,
            privacy=replace(private(), charge=charge), keep=kept.append,
        )  # fmt: skip
    assert asked == [0, 1]
    assert [state.next_round for state in kept] == [1, 2]


def test_poisson_cohorts_are_independent_draws_and_may_be_empty() -> None:
    sizes: list[int] = []
    members: Counter[str] = Counter()

    def collect(task: RoundTask) -> list[Reply]:
        sizes.append(len(task.cohort))
        members.update(task.cohort)
        return []

    small = {"w": np.zeros(1, np.float32)}
    options = RoundOptions(rounds=300, cohort_size=2, clipping_norm=1.0)
    run_rounds(small, CLIENTS, DIGEST, options, collect, privacy=private())
    assert 0 in sizes
    assert np.mean(sizes) == pytest.approx(2.0, abs=0.4)
    assert np.var(sizes) == pytest.approx(100 * 0.02 * 0.98, rel=0.4)
    assert len(members) > 90


@pytest.mark.parametrize(
    "changes",
    [{"aggregator": "median"}, {"over_selection": 1.5}],
)
def test_what_breaks_the_bound_on_one_user_is_refused(changes: dict[str, object]) -> None:
    options = replace(OPTIONS, **changes)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError):
        run_rounds(SHARED, CLIENTS, DIGEST, options, honest, privacy=private())
