"""DP-FTRL's noise: what a prefix carries, what a user can change, what it costs."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from edge_sdk.random_words import SeededWords
from edge_sdk.update import ModelUpdate
from federated.errors import BudgetExhaustedError, CheckpointError
from federated.privacy.accounting import Spend, epsilon_by
from federated.privacy.options import PrivacyOptions
from federated.privacy.private_run import PrivacySetup
from federated.privacy.tree import noise_count, tree_height, tree_step
from federated.round_core import Reply, RoundOptions, RoundTask, RunState, run_rounds
from federated.run_files import open_run

if TYPE_CHECKING:
    from pathlib import Path

    from federated.run_files import Run

DIGEST = "d" * 64
CLIENTS = [f"c{i:02d}" for i in range(20)]
SHARED = {"w": np.zeros(4000, np.float32)}
TREE = PrivacyOptions(
    noise="tree", tree_rounds=4, sampling="fixed", noise_multiplier=10.0, epsilon=2.0,
    accountant="rdp",
)  # fmt: skip


def words(seed: int) -> SeededWords:
    return SeededWords(np.random.default_rng(seed))


def test_a_prefix_carries_one_noise_for_each_set_bit() -> None:
    nodes: dict[str, np.ndarray] = {}
    prefix = np.zeros(20_000, np.int64)
    for leaf in range(1, 17):
        nodes, change = tree_step(nodes, leaf, 100, len(prefix), words(leaf))
        prefix += change
        assert len(nodes) == leaf.bit_count()
        np.testing.assert_array_equal(prefix, sum(nodes.values()))
        assert prefix.std() == pytest.approx(100 * np.sqrt(leaf.bit_count()), rel=0.02)
        assert change.std() == pytest.approx(100 * np.sqrt(noise_count(leaf)), rel=0.02)


@pytest.mark.parametrize(("rounds", "height"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4)])
def test_the_height_is_how_many_sums_hold_one_round(rounds: int, height: int) -> None:
    """Counted out: a sum is noised when its last round comes, and covers a power of two."""
    spans = [(t - (t & -t) + 1, t) for t in range(1, rounds + 1)]  # the one new at t
    nodes = [
        (t - (1 << level) + 1, t) for t in range(1, rounds + 1) for level in range(noise_count(t))
    ]  # all that end at t: never released, but bounding
    assert set(spans) <= set(nodes)
    held = max(sum(a <= leaf <= b for a, b in nodes) for leaf in range(1, rounds + 1))
    assert tree_height(rounds) == held == height


def answer(task: RoundTask) -> list[Reply]:
    delta = {"w": np.full(4000, 1e-3, np.float32)}
    return [Reply(client_id=c, update=ModelUpdate(DIGEST, delta)) for c in task.cohort]


def test_a_user_is_used_once_a_tree_and_the_tree_is_paid_for_once(tmp_path: Path) -> None:
    options = RoundOptions(rounds=8, cohort_size=6, clipping_norm=1.0)
    setup = PrivacySetup(options=TREE, ledger=tmp_path / "ledger", noise_seed=1)
    cohorts: list[tuple[str, ...]] = []
    states: list[RunState] = []

    def collect(task: RoundTask) -> list[Reply]:
        cohorts.append(task.cohort)
        return answer(task)

    with open_run(tmp_path / "c", DIGEST, options, CLIENTS, setup, resume=False) as run:
        result = run_rounds(
            SHARED, CLIENTS, DIGEST, options, collect,
            privacy=run.private_rounds, keep=states.append,
        )  # fmt: skip
        report = run.report()
    assert [len(cohort) for cohort in cohorts] == [6, 6, 6, 2, 6, 6, 6, 2]
    for tree in (cohorts[:4], cohorts[4:]):
        assert sorted(sum(tree, ())) == CLIENTS
    assert len(states[3].used) == 20
    assert len(states[4].used) == 6

    assert report is not None
    spend = Spend(sampling="fixed", sampling_rate=1.0, noise_multiplier=10.0 / np.sqrt(3), rounds=2)
    assert report.rounds == 2
    assert report.epsilon_rdp == pytest.approx(epsilon_by("rdp", [spend], 1e-5), abs=2e-4)
    assert any("at most once in 4 rounds" in said for said in report.assumptions)

    noise = np.array([entry.noise_deviation for entry in result.reports[:4]]) / 10.0
    np.testing.assert_allclose(noise, np.sqrt([1, 2, 1, 3]), rtol=1e-6)
    moved = result.shared["w"] * 6 - 40e-3
    assert moved.std() == pytest.approx(10.0 * np.sqrt(2), rel=0.05)  # one noise a tree


def test_a_tree_goes_on_after_a_restart(tmp_path: Path) -> None:
    options = RoundOptions(rounds=6, cohort_size=3, clipping_norm=1.0)

    def go(name: str, *, resume: bool, stop: int | None) -> np.ndarray:
        setup = PrivacySetup(options=TREE, ledger=tmp_path / f"{name}.ledger", noise_seed=1)

        def collect(task: RoundTask) -> list[Reply]:
            if task.server_round == stop:
                raise KeyboardInterrupt
            return answer(task)

        path = tmp_path / name
        with open_run(path, DIGEST, options, CLIENTS, setup, resume=resume) as run:
            return run_rounds(
                SHARED, CLIENTS, DIGEST, options, collect,
                privacy=run.private_rounds, start=run.start, keep=run.keep,
            ).shared["w"]  # fmt: skip

    want = go("whole", resume=False, stop=None)
    with pytest.raises(KeyboardInterrupt):
        go("cut", resume=False, stop=3)
    np.testing.assert_array_equal(go("cut", resume=True, stop=None), want)


def test_a_tree_does_not_go_on_from_an_old_checkpoint(tmp_path: Path) -> None:
    """Its rounds since then are released; they would be released again, and not be paid for."""
    options = RoundOptions(rounds=7, cohort_size=3, clipping_norm=1.0)
    setup = PrivacySetup(options=TREE, ledger=tmp_path / "ledger")
    path, old, at_an_end = (tmp_path / name for name in ("c", "old", "at an end"))

    def keep(run: Run, state: RunState) -> None:
        run.keep(state)
        if state.next_round in (2, 4):
            shutil.copy(path, old if state.next_round == 2 else at_an_end)

    with open_run(path, DIGEST, options, CLIENTS, setup, resume=False) as run:
        run_rounds(
            SHARED, CLIENTS, DIGEST, options, answer,
            privacy=run.private_rounds, keep=partial(keep, run),
        )  # fmt: skip
    with (
        pytest.raises(CheckpointError, match="7 were released"),
        open_run(old, DIGEST, options, CLIENTS, setup, resume=True),
    ):
        pytest.fail("it went on")
    with open_run(at_an_end, DIGEST, options, CLIENTS, setup, resume=True) as run:
        run_rounds(
            SHARED, CLIENTS, DIGEST, options, answer, privacy=run.private_rounds, start=run.start
        )
        report = run.report()
    assert report is not None
    assert report.rounds == 3  # two trees, and the second one again


def test_trees_are_charged_before_they_begin(tmp_path: Path) -> None:
    options = RoundOptions(rounds=400, cohort_size=3, clipping_norm=1.0)
    setup = PrivacySetup(options=TREE, ledger=tmp_path / "ledger")
    with (
        pytest.raises(BudgetExhaustedError),
        open_run(tmp_path / "c", DIGEST, options, CLIENTS, setup, resume=False),
    ):
        pytest.fail("it began")


@pytest.mark.parametrize(
    "changes",
    [
        {"tree_rounds": 0},
        {"noise": "central"},
        {"sampling": "poisson"},
        {"target_quantile": 0.5},
    ],
)
def test_what_does_not_go_with_a_tree_is_refused(changes: dict[str, object]) -> None:
    fields = {"noise": "tree", "tree_rounds": 4, "sampling": "fixed", **changes}
    with pytest.raises(InvalidOptionError):
        PrivacyOptions(**fields)  # type: ignore[arg-type]
