from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine
from edge_sdk.cross_validation import Targets, answers_of, assign_folds, held_out_answers
from tests.support import tiny

if TYPE_CHECKING:
    from pathlib import Path

KNOWS_NONE = np.zeros(4, dtype=bool)
KNOWS_ALL = np.ones(4, dtype=bool)


def distinct(n: int) -> np.ndarray:
    return np.arange(8 * n, dtype=np.float32).reshape(n, 8)


def test_each_label_is_spread_over_the_folds() -> None:
    slots = np.repeat(np.arange(4), 10)
    folds = assign_folds(distinct(40), slots, KNOWS_NONE, folds=5)
    for slot in range(4):
        assert np.bincount(folds[slots == slot], minlength=5).tolist() == [2] * 5


def test_a_fold_takes_one_example_of_each_label_so_that_all_are_left_alike() -> None:
    folds = assign_folds(distinct(7), np.array([0, 1, 0, 1, 2, 2, 1]), KNOWS_NONE, folds=20)
    assert folds.tolist() == [0, 0, 1, 1, 0, 1, 2]
    folds = assign_folds(distinct(7), np.array([0, 1, 0, 1, 2, 2, 1]), KNOWS_NONE, folds=2)
    assert folds.tolist() == [0, 0, 1, 1, 0, 1, 0]


def test_the_only_example_of_an_own_label_is_not_judged() -> None:
    slots = np.array([0, 0, 1])
    assert (assign_folds(distinct(3), slots, KNOWS_NONE, folds=20) == -1).tolist() == [
        False, False, True,
    ]  # fmt: skip
    assert (assign_folds(distinct(3), slots, KNOWS_ALL, folds=20) >= 0).all()


def test_copies_share_a_fold() -> None:
    features = distinct(8)
    features[5] = features[1]
    features[6] = features[1]
    folds = assign_folds(features, np.array([0, 0, 0, 0, 1, 1, 0, 1]), KNOWS_ALL, folds=20)
    assert folds[1] == folds[5] == folds[6]
    assert folds.tolist() == [0, 1, 2, 3, 0, 1, 1, 1]


def test_zeros_of_either_sign_are_copies() -> None:
    features = np.stack([np.zeros(8), -np.zeros(8), np.ones(8)]).astype(np.float32)
    folds = assign_folds(features, np.array([0, 0, 0]), KNOWS_ALL, folds=20)
    assert folds.tolist() == [0, 0, 1]


def test_a_label_with_copies_of_one_example_only_is_not_judged() -> None:
    features = np.concatenate([distinct(2), np.ones((3, 8), np.float32)])
    folds = assign_folds(features, np.array([0, 0, 1, 1, 1]), KNOWS_NONE, folds=20)
    assert folds.tolist() == [0, 1, -1, -1, -1]


def test_held_out_answers_are_those_of_states_that_never_saw_the_example(
    tiny_labelled_bundle: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_labelled_bundle)
    features = engine.embed(tiny.examples(rng, 12))
    slots = np.arange(12, dtype=np.int64) % 3
    seen = np.arange(12) < 7
    found = held_out_answers(engine, features, Targets.of(slots), current=seen, folds=20)
    assert found.num_folds == 4
    assert found.judged.all()
    assert found.current is not None
    for row in range(12):
        others = np.arange(12) // 3 != row // 3  # a fold: one example of each of three labels
        for answers, used in ((found.candidate, others), (found.current, others & seen)):
            state = engine.adapt(features[used], slots[used]).state
            logits = engine.predict(features[row], state).logits[0].astype(np.float64)
            assert answers.right[row] == (logits.argmax() == slots[row])
            p = np.exp(logits - logits.max())
            assert answers.probability[row] == pytest.approx(p[slots[row]] / p.sum())
            assert answers.largest[row] == pytest.approx(p.max() / p.sum())
    base = engine.predict(features, engine.initial_state()).logits.argmax(axis=1)
    assert np.array_equal(found.base.right, base == slots)


def test_a_base_without_labels_answers_nothing_right(
    tiny_bundle: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_bundle)
    features = engine.embed(tiny.examples(rng, 3))
    nothing = Targets.of(np.zeros(3, dtype=np.int64))
    found = answers_of(engine, features, nothing, engine.initial_state())
    assert not found.right.any()
    assert not found.probability.any()


def test_one_example_is_answered_by_the_base(
    tiny_labelled_bundle: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_labelled_bundle)
    features = engine.embed(tiny.examples(rng, 1))
    one = Targets.of(np.zeros(1, dtype=np.int64))
    found = held_out_answers(engine, features, one, current=None, folds=20)
    assert found.current is None
    assert np.array_equal(found.candidate.right, found.base.right)


def test_a_fold_that_diverges_has_answered_nothing_right(
    tiny_gradient_bundle: Path, rng: np.random.Generator
) -> None:
    engine = Engine(tiny_gradient_bundle)
    features = engine.embed(tiny.examples(rng, 6))
    features[0] = 3e37  # adapting on it is not finite; it is in every fold's support but its own
    slots = np.array([0, 0, 0, 1, 1, 1], dtype=np.int64)
    found = held_out_answers(engine, features, Targets.of(slots), current=None, folds=20)
    assert not found.candidate.right[1:].any()
