"""How many examples of a label are kept, and which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Capacity, Engine, Personalizer, errors
from edge_sdk.capacity import chosen, herd
from tests.support.homes import all_bytes, shots

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

POLICIES = ("most_recent", "reservoir", "herding")


def rows_of(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    return rng.normal(size=(n, 2, 3)).astype(np.float32)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("n", [1, 4, 5, 20])
def test_as_many_as_allowed_stay_in_order(rng: np.random.Generator, policy: Any, n: int) -> None:
    capacity = Capacity(per_label=4, policy=policy)
    rows = rows_of(rng, n)
    stay = chosen(capacity, rows)
    assert len(stay) == min(n, 4)
    assert list(stay) == sorted(set(stay))
    assert chosen(capacity, rows) == stay


def test_the_most_recent_stay(rng: np.random.Generator) -> None:
    assert chosen(Capacity(per_label=3), rows_of(rng, 7)) == (4, 5, 6)


def test_a_reservoir_is_a_uniform_sample_of_all_that_were_taught(rng: np.random.Generator) -> None:
    """One at a time, so that what was given up is never seen again, as on a device."""
    num_rows, size, num_runs = 12, 3, 2000
    counts = np.zeros(num_rows)
    rows = rows_of(rng, num_rows)
    for seed in range(num_runs):
        capacity = Capacity(per_label=size, policy="reservoir", seed=seed)
        kept: list[int] = []
        for row in range(num_rows):
            kept.append(row)
            kept = [kept[i] for i in chosen(capacity, rows[kept])]
        assert tuple(kept) == chosen(capacity, rows)  # it does not matter how they arrive
        counts[kept] += 1
    share = size / num_rows
    deviation = np.sqrt(num_runs * share * (1 - share))
    assert np.abs(counts - num_runs * share).max() < 4 * deviation


def test_herding_matches_the_mean_far_better_than_chance(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(60, 5)).astype(np.float32)
    target = rows.mean(axis=0, dtype=np.float64)

    def gap(picked: Any) -> float:
        return float(np.linalg.norm(rows[list(picked)].mean(axis=0, dtype=np.float64) - target))

    by_chance = [gap(rng.choice(60, 6, replace=False)) for _ in range(500)]
    assert gap(herd(rows, 6)) < np.quantile(by_chance, 0.02)


def test_herding_takes_the_best_row_at_each_step(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(9, 4)).astype(np.float32)
    target = rows.mean(axis=0, dtype=np.float64)
    order = herd(rows, 4)
    for count in range(1, 5):
        gaps = {
            row: np.linalg.norm(rows[[*order[: count - 1], row]].mean(0, dtype=np.float64) - target)
            for row in set(range(9)) - set(order[: count - 1])
        }
        assert order[count - 1] == min(gaps, key=gaps.__getitem__)


BAD: list[dict[str, Any]] = [
    {"per_label": 0}, {"per_label": True}, {"per_label": 1.5}, {"per_label": 3, "policy": "oldest"},
    {"per_label": 3, "seed": -1}, {"per_label": 3, "seed": 2**63}, {"per_label": 3, "seed": True},
]  # fmt: skip


@pytest.mark.parametrize("options", BAD)
def test_a_bad_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidOptionError):
        Capacity(**options)


@pytest.mark.parametrize("policy", POLICIES)
def test_teaching_keeps_each_label_within_its_capacity(
    tiny_bundle: Path, tmp_path: Path, policy: Any
) -> None:
    capacity = Capacity(per_label=4, policy=policy, seed=3)
    engine = Engine(tiny_bundle)
    with Personalizer(tiny_bundle, home=tmp_path / "home", capacity=capacity) as personal:
        taught = {"anna": shots(0, 9), "ben": shots(1, 3)}
        for label, x in taught.items():
            for row in x:
                personal.teach(label, row)
        labels = [example.label for example in personal.examples]
        assert (labels.count("anna"), labels.count("ben")) == (4, 3)
        report = personal.adapt()
        assert (report.num_examples, report.num_labels) == (7, 2)
        features, slots = personal.support()
        assert personal.state == engine.adapt(features, slots).state
        if policy == "most_recent":
            want = engine.embed(taught["anna"])[-4:]
            np.testing.assert_array_equal(features[slots == personal.labels.index("anna")], want)
        if policy == "reservoir":
            all_rows = engine.embed(taught["anna"])
            want = all_rows[list(chosen(capacity, all_rows))]
            np.testing.assert_array_equal(features[slots == personal.labels.index("anna")], want)


def test_the_ids_of_a_lesson_come_back_even_where_not_all_stay(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    capacity = Capacity(per_label=2)
    with Personalizer(tiny_bundle, home=tmp_path / "home", capacity=capacity) as personal:
        assert personal.teach("anna", shots(0, 5)) == (1, 2, 3, 4, 5)
        assert [example.id for example in personal.examples] == [4, 5]


def test_what_a_generation_rests_on_stays_until_it_is_gone(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    """So a state can always be computed again, and forgotten from exactly."""
    home, capacity = tmp_path / "home", Capacity(per_label=2)
    with Personalizer(tiny_bundle, home=home, capacity=capacity) as personal:
        personal.teach("anna", shots(0, 2))
        personal.teach("ben", shots(1, 2))
        personal.adapt()
        first, old = personal.state, personal.support()[0][0].tobytes()
        personal.teach("anna", shots(0, 2, draw=7))
        assert [example.id for example in personal.examples] == [3, 4, 5, 6]
        assert personal.state == first
        assert old in all_bytes(home)
        personal.adapt()
        personal.roll_back()
        assert personal.state == first
        personal.forget("ben")
        features = Engine(tiny_bundle).embed(shots(0, 2))
        want = Engine(tiny_bundle).adapt(features, np.zeros(2, np.int64)).state
        assert personal.state == want
        personal.adapt()
        personal.adapt()  # two generations on, nothing rests on what was let go of
        store = personal._live.store
        with store.snapshot():
            assert store.examples.ids() == store.examples.ids(kept=True) == (5, 6)
        personal.forget("anna")
        assert old not in all_bytes(home)


def test_forgetting_a_label_forgets_what_was_let_go_of_too(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    home, capacity = tmp_path / "home", Capacity(per_label=1)
    with Personalizer(tiny_bundle, home=home, capacity=capacity) as personal:
        personal.teach("anna", shots(0, 1))
        personal.adapt()
        old = personal.support()[0][0].tobytes()
        personal.teach("anna", shots(0, 1, draw=5))
        personal.forget("anna")
        assert old not in all_bytes(home)
        assert personal.version == 0
