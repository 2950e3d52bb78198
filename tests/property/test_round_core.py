from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.update import ModelUpdate, joint_norm
from federated.round_core import Reply, RoundTask, apply_round, sample_cohort

DIGEST = "d" * 64
NORMS = st.floats(1e-3, 1e3)
SCALES = st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e4, 1e30])


def a_round(seed: int, scales: list[float], clipping_norm: float) -> tuple[RoundTask, list[Reply]]:
    rng = np.random.default_rng(seed)
    shapes = {"a": (3,), "b": (2, 2), "c": ()}
    shared = {k: np.asarray(rng.normal(size=s), np.float32) for k, s in shapes.items()}
    replies = [
        Reply(
            client_id=f"c{i:02d}",
            update=ModelUpdate(
                DIGEST,
                {k: np.asarray(scale * rng.normal(size=s), np.float32) for k, s in shapes.items()},
            ),
        )
        for i, scale in enumerate(scales)
    ]
    task = RoundTask(
        server_round=0,
        cohort=tuple(reply.client_id for reply in replies),
        shared=shared,
        bundle_digest=DIGEST,
        clipping_norm=clipping_norm,
        steps=None,
    )
    return task, replies


@given(
    seed=st.integers(0, 2**32 - 1),
    scales=st.lists(SCALES, min_size=1, max_size=8),
    clipping_norm=NORMS,
    server_lr=st.floats(1e-3, 10.0),
)
def test_no_cohort_moves_the_model_further_than_one_clipped_update(
    seed: int, scales: list[float], clipping_norm: float, server_lr: float
) -> None:
    task, replies = a_round(seed, scales, clipping_norm)
    shared, report = apply_round(task, replies, server_lr=server_lr)

    assert report.num_accepted == len(scales)
    assert report.step_norm <= server_lr * clipping_norm * (1 + 1e-6)
    assert all(np.isfinite(value).all() for value in shared.values())


@given(
    seed=st.integers(0, 2**32 - 1),
    scales=st.lists(SCALES, min_size=1, max_size=8),
    data=st.data(),
)
def test_the_order_of_replies_does_not_matter(
    seed: int, scales: list[float], data: st.DataObject
) -> None:
    task, replies = a_round(seed, scales, clipping_norm=1.0)
    shuffled = data.draw(st.permutations(replies))
    want, want_report = apply_round(task, replies, server_lr=1.0)
    got, got_report = apply_round(task, shuffled, server_lr=1.0)

    assert got_report == want_report
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


@given(
    seed=st.integers(0, 2**32 - 1),
    scales=st.lists(SCALES, min_size=1, max_size=6),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
    where=st.integers(0, 3),
)
def test_a_non_finite_update_changes_nothing_at_all(
    seed: int, scales: list[float], bad: float, where: int
) -> None:
    task, replies = a_round(seed, [*scales, 1.0], clipping_norm=1.0)
    poisoned = replies[-1].update
    assert poisoned is not None
    poisoned.delta["b"].flat[where] = bad
    got, report = apply_round(task, replies, server_lr=1.0)
    want, _ = apply_round(task, replies[:-1], server_lr=1.0)

    assert report.refused == {"non_finite": 1}
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


@given(seed=st.integers(0, 2**32 - 1), delta_scale=st.floats(0.0, 10.0), copies=st.integers(1, 9))
def test_the_mean_of_equal_updates_is_that_update(
    seed: int, delta_scale: float, copies: int
) -> None:
    task, (reply,) = a_round(seed, [delta_scale], clipping_norm=1e6)
    one, _ = apply_round(task, [reply], server_lr=1.0)
    names = tuple(f"n{i}" for i in range(copies))
    many_task = RoundTask(
        server_round=0,
        cohort=names,
        shared=task.shared,
        bundle_digest=DIGEST,
        clipping_norm=1e6,
        steps=None,
    )
    many, _ = apply_round(
        many_task, [Reply(client_id=n, update=reply.update) for n in names], server_lr=1.0
    )
    moved = {k: many[k] - one[k] for k in one}
    assert joint_norm(moved) <= 1e-5 * (1 + joint_norm(dict(one)))


@given(
    ids=st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=20),
    size=st.integers(1, 30),
    seed=st.integers(0, 1000),
)
def test_a_cohort_is_a_sorted_subset_without_repetition(
    ids: list[str], size: int, seed: int
) -> None:
    cohort = sample_cohort(ids, size, np.random.default_rng(seed))
    assert set(cohort) <= set(ids)
    assert list(cohort) == sorted(set(cohort))
    assert len(cohort) == min(size, len(set(ids)))
