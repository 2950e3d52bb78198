from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, Personalizer, State
from edge_sdk.audit_entries import JudgementSent
from edge_sdk.errors import BadStateError, InvalidOptionError, NothingTaughtError
from edge_sdk.judgement import ACCURACY_STEPS, Judgement, judge

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture
def engine(tiny_labelled_bundle: Path) -> Engine:
    """Class means of 8 features; circle and square are named, from a prior."""
    return Engine(tiny_labelled_bundle)


def two_clusters(engine: Engine, rng: np.random.Generator, each: int = 5) -> tuple[
    NDArray[np.float32], NDArray[np.int64]
]:  # fmt: skip
    dim = engine.bundle.manifest.features.shape[0]
    slots = np.repeat([0, 1], each)
    centres = np.zeros((2, dim), np.float32)
    centres[0, 0] = centres[1, 1] = 2.0
    return (centres[slots] + rng.normal(0, 0.3, (2 * each, dim))).astype(np.float32), slots


def a_start(engine: Engine, prototypes: NDArray[np.float32], counts: float) -> State:
    """The bundle's start with other prototypes for its two labels, that weigh so much."""
    initial = engine.initial_state()
    tensors = {name: np.array(initial[name]) for name in initial.names}
    tensors["prototypes"][:2] = prototypes
    tensors["counts"][:2] = counts
    return State.from_arrays(tensors)


def starts(engine: Engine) -> tuple[State, State]:
    """One that stays right, and one that stays wrong, whatever few examples say."""
    dim = engine.bundle.manifest.features.shape[0]
    right = np.zeros((2, dim), np.float32)
    right[0, 0] = right[1, 1] = 2.0
    return a_start(engine, right, 1e6), a_start(engine, right[::-1].copy(), 1e6)


def test_the_better_start_has_more_right_answers(engine: Engine, rng: np.random.Generator) -> None:
    features, slots = two_clusters(engine, rng)
    good, bad = starts(engine)
    assert judge(engine, bad, good, features, slots) == Judgement(
        current=0, candidate=ACCURACY_STEPS
    )
    assert judge(engine, good, bad, features, slots) == Judgement(
        current=ACCURACY_STEPS, candidate=0
    )
    same = judge(engine, good, good, features, slots)
    assert same.current == same.candidate


def test_an_example_is_asked_of_a_state_that_did_not_see_it(engine: Engine) -> None:
    """Labels at random: whoever saw an example answers it, nobody else can."""
    rng = np.random.default_rng(3)
    dim = engine.bundle.manifest.features.shape[0]
    features = (10 * rng.normal(size=(60, dim))).astype(np.float32)
    slots = rng.integers(0, 2, 60)
    weak = a_start(engine, np.zeros((2, dim), np.float32), 1e-3)
    found = judge(engine, weak, weak, features, slots)
    assert 0.25 < found.candidate / ACCURACY_STEPS < 0.75


def test_it_counts_what_cross_validation_by_hand_counts(
    engine: Engine, rng: np.random.Generator
) -> None:
    features, slots = two_clusters(engine, rng, each=3)
    features += rng.normal(0, 1.5, features.shape).astype(np.float32)
    start = engine.initial_state()
    right = 0
    fold_of = np.tile([0, 1, 2], 2)  # a label's examples in turn
    for fold in range(3):
        seen = fold_of != fold
        state = engine.adapt(features[seen], slots[seen], start=start).state
        logits = engine.predict(features[~seen], state).logits
        right += int(np.sum(logits.argmax(axis=1) == slots[~seen]))
    found = judge(engine, start, start, features, slots, folds=3)
    assert found.current == round(ACCURACY_STEPS * right / 6)


def test_what_cannot_be_judged_is_refused(engine: Engine) -> None:
    dim = engine.bundle.manifest.features.shape[0]
    start = engine.initial_state()
    one = np.ones((1, dim), np.float32)
    with pytest.raises(NothingTaughtError, match="nothing to judge on"):
        judge(engine, start, start, one[:0], np.zeros(0, np.int64))
    with pytest.raises(NothingTaughtError, match="teach a second one"):
        judge(engine, start, start, one, np.array([3]))  # a user's own label, once
    with pytest.raises(InvalidOptionError, match="folds must be in"):
        judge(engine, start, start, one, np.array([0]), folds=1)
    only = judge(engine, start, start, one, np.array([0]))  # the bundle knows the label
    assert only.current in (0, ACCURACY_STEPS)


@pytest.mark.parametrize("bad", [-1, ACCURACY_STEPS + 1, True, 0.5])
def test_a_judgement_is_bounded(bad: object) -> None:
    with pytest.raises(InvalidOptionError, match="must be an integer in 0"):
        Judgement(current=0, candidate=bad)  # type: ignore[arg-type]


def test_a_device_judges_what_it_keeps_and_its_log_says_so(
    tiny_labelled_bundle: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    consent = "0f8fad5b-d9cb-469f-a165-70867728950e"
    with Personalizer(tiny_labelled_bundle, home=tmp_path / "home") as personalizer:
        with pytest.raises(NothingTaughtError):
            personalizer.judge(personalizer.initial_state)
        for label in ("circle", "square"):
            personalizer.teach(label, rng.normal(size=(3, 1, 4, 4)).astype(np.float32))
        before = personalizer.state.to_bytes(), personalizer.examples
        found = personalizer.judge(personalizer.initial_state, consent_id=consent)
        assert found.current == found.candidate
        assert (personalizer.state.to_bytes(), personalizer.examples) == before
        assert personalizer.audit_log.records()[-1].entry == JudgementSent(
            bundle_digest=personalizer.bundle.digest, num_examples=6, consent_id=consent
        )
        entries = len(personalizer.audit_log.records())
        with pytest.raises(BadStateError):
            personalizer.judge(State.from_arrays({"other": np.zeros(2, np.float32)}))
        assert len(personalizer.audit_log.records()) == entries  # nothing left the device
