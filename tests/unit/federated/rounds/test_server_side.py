"""Aggregators, server optimizers, over-selection: small cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from edge_sdk.random_words import SeededWords
from edge_sdk.update import ModelUpdate
from federated.round_core import Reply, RoundOptions, RoundTask, run_rounds
from federated.rounds.aggregation import aggregate
from federated.rounds.sampling import fixed_cohort, poisson_cohort
from federated.rounds.server_optimizer import server_step

DIGEST = "d" * 64
SHARED = {"w": np.zeros(2, np.float32)}


def updates(*rows: tuple[float, float]) -> dict[str, dict[str, np.ndarray]]:
    return {f"c{i}": {"w": np.array(row, np.float32)} for i, row in enumerate(rows)}


@pytest.mark.parametrize(
    ("aggregator", "want"),
    [("mean", [20.8, -18.0]), ("median", [1.0, 1.0]), ("trimmed_mean", [4 / 3, 2 / 3])],
)
def test_aggregators(aggregator: str, want: list[float]) -> None:
    options = RoundOptions(aggregator=aggregator, trim_share=0.2)
    got = aggregate(updates((1, 1), (1, 1), (2, 0), (100, 8), (0, -100)), SHARED, options)
    np.testing.assert_allclose(got["w"], want, rtol=1e-6)
    np.testing.assert_array_equal(aggregate({}, SHARED, options)["w"], [0, 0])


@pytest.mark.parametrize("aggregator", ["median", "trimmed_mean"])
def test_a_tenth_of_boosted_attackers_moves_a_robust_aggregate_little(aggregator: str) -> None:
    rng = np.random.default_rng(0)
    honest = [tuple(row) for row in rng.normal(1.0, 0.1, size=(18, 2))]
    options = RoundOptions(aggregator=aggregator, trim_share=0.15)
    got = aggregate(updates(*honest, (-50, -50), (-50, -50)), SHARED, options)
    np.testing.assert_allclose(got["w"], 1.0, atol=0.1)


def test_sgd_is_one_step_and_keeps_nothing() -> None:
    stepped, moments, norm = server_step(
        SHARED, {"w": np.array([3.0, 4.0])}, {}, RoundOptions(server_lr=0.5)
    )
    np.testing.assert_array_equal(stepped["w"], np.float32([1.5, 2.0]))
    assert (moments, norm) == ({}, 2.5)


def test_momentum_adds_up() -> None:
    options = RoundOptions(server_optimizer="momentum", momentum=0.5)
    direction = {"w": np.array([1.0, -1.0])}
    _, moments, _ = server_step(SHARED, direction, {}, options)
    stepped, moments, _ = server_step(SHARED, direction, moments, options)
    np.testing.assert_allclose(stepped["w"], [1.5, -1.5])
    np.testing.assert_allclose(moments["first/w"], [1.5, -1.5])


def test_adam_is_the_papers() -> None:
    options = RoundOptions(
        server_optimizer="adam", momentum=0.9, second_moment=0.99, adaptivity=0.1, server_lr=2.0
    )
    stepped, moments, _ = server_step(SHARED, {"w": np.array([1.0, 0.0])}, {}, options)
    first, second = 0.1, 0.99 * 0.1**2 + 0.01
    np.testing.assert_allclose(stepped["w"], [2.0 * first / (np.sqrt(second) + 0.1), 0], rtol=1e-6)
    assert set(moments) == {"first/w", "second/w"}


def test_over_selection_closes_at_the_cohort_size_and_counts_the_late() -> None:
    def collect(task: RoundTask) -> list[Reply]:
        assert (len(task.cohort), task.close_at) == (6, 4)
        return [
            Reply(client_id=c, update=ModelUpdate(DIGEST, {"w": np.ones(2, np.float32)}))
            for c in task.cohort
        ]

    options = RoundOptions(rounds=1, cohort_size=4, over_selection=1.5)
    result = run_rounds(SHARED, [f"c{i}" for i in range(9)], DIGEST, options, collect)
    (report,) = result.reports
    assert (report.num_accepted, report.refused) == (4, {"late": 2})


def test_a_round_without_updates_moves_no_optimizer() -> None:
    options = RoundOptions(rounds=2, cohort_size=1, server_optimizer="momentum")

    def collect(task: RoundTask) -> list[Reply]:
        if task.server_round == 1:
            return []
        return [
            Reply(
                client_id=task.cohort[0],
                update=ModelUpdate(DIGEST, {"w": np.ones(2, np.float32)}),
            )
        ]

    result = run_rounds(SHARED, ["c"], DIGEST, options, collect)
    np.testing.assert_array_equal(result.shared["w"], [1, 1])
    assert result.reports[1].step_norm == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"server_optimizer": "lion"},
        {"aggregator": "max"},
        {"momentum": 1.0},
        {"trim_share": 0.5},
        {"over_selection": 0.5},
        {"adaptivity": 0.0},
    ],
)
def test_options_out_of_range_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError):
        RoundOptions(**changes)  # type: ignore[arg-type]


def test_cohorts_from_words() -> None:
    words = SeededWords(np.random.default_rng(0))
    ids = [f"c{i}" for i in range(10)]
    assert fixed_cohort(ids, 20, words) == tuple(ids)
    counts = np.zeros(10)
    for _ in range(500):
        cohort = fixed_cohort(ids, 3, words)
        assert len(set(cohort)) == 3
        counts[[int(c[1:]) for c in cohort]] += 1
    np.testing.assert_allclose(counts, 150, atol=45)
    assert poisson_cohort(ids, 1.0, words) == tuple(ids)
    with pytest.raises(InvalidOptionError):
        poisson_cohort(ids, 0.0, words)
    with pytest.raises(InvalidOptionError):
        poisson_cohort([], 0.5, words)
