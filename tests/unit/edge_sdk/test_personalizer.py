"""Personalizer: what is taught is predicted, what is forgotten is gone, bad input is harmless."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Engine, Personalizer, errors
from tests.support import tiny

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_sdk import State

SEEDS = {"anna": 1, "ben": 2, "cleo": 3, "dora": 4, "emil": 5}


def shots(label: str, n: int = 3, *, draw: int = 0) -> Any:
    return tiny.class_examples(np.random.default_rng(draw), n, seed=SEEDS[label])


@pytest.fixture(params=["tiny_bundle", "tiny_gradient_bundle", "tiny_sequential_bundle"])
def bundle(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def personal(bundle: Path, tmp_path: Path) -> Iterator[Personalizer]:
    with Personalizer(bundle, home=tmp_path / "home") as opened:
        yield opened


def state_of(bundle: Path, home: Path, labels: str) -> State:
    """The state of a new store that was taught these labels, in this order."""
    with Personalizer(bundle, home=home) as fresh:
        for label in labels.split():
            fresh.teach(label, shots(label))
        if labels:
            fresh.adapt()
        return fresh.state


def contents(personal: Personalizer) -> tuple[Any, ...]:
    features, slots = personal.support()
    return personal.examples, personal.labels, features.tobytes(), slots.tobytes(), (
        personal.state.to_bytes()
    )  # fmt: skip


def test_what_is_taught_is_predicted(personal: Personalizer) -> None:
    for label in ("anna", "ben", "cleo"):
        personal.teach(label, shots(label))
    report = personal.adapt()
    assert (report.num_examples, report.num_labels) == (9, 3)
    assert report.duration_ms > 0
    assert np.isfinite(report.losses).all()
    for label in ("anna", "ben", "cleo"):
        got = personal.predict(shots(label, 5, draw=1))
        assert got.labels == (label,) * 5
        assert got.names == ("anna", "ben", "cleo")
        assert got.probabilities.shape == (5, 3)
        np.testing.assert_allclose(got.probabilities.sum(1), 1, atol=1e-6)
        np.testing.assert_array_equal(got.confidence, got.probabilities.max(1))


def test_one_example_needs_no_batch_axis(personal: Personalizer) -> None:
    assert personal.teach("anna", shots("anna")[0]) == (1,)
    assert personal.teach("ben", shots("ben", 2)) == (2, 3)
    personal.adapt()
    assert personal.predict(shots("ben", 1, draw=1)[0]).labels == ("ben",)


def test_taught_labels_are_predicted_after_adapt_only(personal: Personalizer) -> None:
    with pytest.raises(errors.NothingTaughtError):
        personal.predict(shots("anna"))
    personal.teach("anna", shots("anna"))
    with pytest.raises(errors.NothingTaughtError):
        personal.predict(shots("anna"))
    personal.adapt()
    before = personal.state
    personal.teach("ben", shots("ben"))
    assert personal.labels == ("anna", "ben")
    assert personal.predict(shots("ben")).names == ("anna",)
    assert personal.state == before


def test_the_state_is_the_engine_s_own(bundle: Path, personal: Personalizer) -> None:
    for label in ("anna", "ben", "anna"):
        personal.teach(label, shots(label))
    personal.adapt()
    features, slots = personal.support()
    np.testing.assert_array_equal(slots, [0, 0, 0, 1, 1, 1, 0, 0, 0])
    assert Engine(bundle).adapt(features, slots).state == personal.state


def test_everything_survives_the_process(bundle: Path, tmp_path: Path) -> None:
    with Personalizer(bundle, home=tmp_path / "home") as first:
        first.teach("anna", shots("anna"))
        first.teach("ben", shots("ben"))
        first.adapt()
        first.teach("cleo", shots("cleo"))
        before = contents(first)
    with Personalizer(bundle, home=tmp_path / "home") as second:
        assert contents(second) == before
        assert second.predict(shots("ben", 1)).names == ("anna", "ben")


@pytest.mark.parametrize("gone", ["anna", "ben", "cleo"])
def test_forget_is_exact(bundle: Path, tmp_path: Path, gone: str) -> None:
    labels = ["anna", "ben", "cleo"]
    with Personalizer(bundle, home=tmp_path / "home") as personal:
        for label in labels:
            personal.teach(label, shots(label))
        personal.adapt()
        personal.forget(gone)
        labels.remove(gone)
        assert personal.labels == tuple(labels)
        assert personal.predict(shots(labels[1], 1)).labels == (labels[1],)
        want = state_of(bundle, tmp_path / "fresh", " ".join(labels))
        assert personal.state.to_bytes() == want.to_bytes()
    with Personalizer(bundle, home=tmp_path / "home") as reopened:
        assert reopened.state.to_bytes() == want.to_bytes()


def test_forgetting_does_not_adapt_to_what_adapt_has_not_seen(
    bundle: Path, tmp_path: Path, personal: Personalizer
) -> None:
    personal.teach("anna", shots("anna"))
    personal.teach("ben", shots("ben"))
    personal.adapt()
    personal.teach("cleo", shots("cleo"))
    personal.forget("anna")
    assert personal.state == state_of(bundle, tmp_path / "fresh", "ben")
    assert personal.labels == ("ben", "cleo")
    personal.forget("cleo")
    assert personal.state == state_of(bundle, tmp_path / "again", "ben")


def test_forgetting_the_last_label_gives_the_starting_state(
    bundle: Path, personal: Personalizer
) -> None:
    personal.teach("anna", shots("anna"))
    personal.adapt()
    assert personal.state != Engine(bundle).initial_state()
    personal.forget("anna")
    assert personal.state == Engine(bundle).initial_state()
    assert personal.examples == personal.labels == ()
    with pytest.raises(errors.NothingTaughtError):
        personal.predict(shots("anna"))
    with pytest.raises(errors.EmptySupportError):
        personal.adapt()


def test_forgetting_frees_the_slot_and_ids_only_grow(personal: Personalizer) -> None:
    for label in ("anna", "ben", "cleo", "dora"):
        personal.teach(label, shots(label))
    personal.forget("dora")
    assert personal.teach("emil", shots("emil", 1)) == (13,)
    assert personal.labels == ("anna", "ben", "cleo", "emil")


UNKNOWN: list[tuple[Any, type[errors.EdgeError]]] = [
    ("emil", errors.UnknownLabelError),
    ("", errors.InvalidOptionError),
    ("secret" * 99, errors.InvalidOptionError),
    (4, errors.UnknownExampleError),
    (0, errors.UnknownExampleError),
    (True, errors.InvalidOptionError),
    (1.0, errors.InvalidOptionError),
    (None, errors.InvalidOptionError),
]


@pytest.mark.parametrize(("what", "error"), UNKNOWN)
def test_forgetting_what_is_unknown_changes_nothing(
    personal: Personalizer, what: Any, error: type[errors.EdgeError]
) -> None:
    personal.teach("anna", shots("anna"))
    personal.adapt()
    before = contents(personal)
    with pytest.raises(error) as caught:
        personal.forget(what)
    assert "secret" not in str(caught.value)
    assert "emil" not in str(caught.value)
    assert contents(personal) == before


GOOD = shots("ben")
BAD_LESSONS: dict[str, tuple[Any, Any, type[errors.EdgeError]]] = {
    "empty label": ("", GOOD, errors.InvalidOptionError),
    "long label": ("x" * 257, GOOD, errors.InvalidOptionError),
    "bytes": (b"ben", GOOD, errors.InvalidOptionError),
    "float64": ("ben", GOOD.astype(np.float64), errors.DtypeMismatchError),
    "list": ("ben", GOOD.tolist(), errors.DtypeMismatchError),
    "shape": ("ben", GOOD[:, 0], errors.ShapeMismatchError),
    "none": ("ben", GOOD[:0], errors.ShapeMismatchError),
    "nan": ("ben", np.full_like(GOOD, np.nan), errors.NonFiniteError),
}


@pytest.mark.parametrize(("label", "x", "error"), BAD_LESSONS.values(), ids=BAD_LESSONS.keys())
def test_a_bad_lesson_changes_nothing(
    personal: Personalizer, label: Any, x: Any, error: type[errors.EdgeError]
) -> None:
    personal.teach("anna", shots("anna"))
    personal.adapt()
    before = contents(personal)
    with pytest.raises(error) as caught:
        personal.teach(label, x)
    assert "ben" not in str(caught.value)
    assert contents(personal) == before


def test_one_label_too_many_changes_nothing(personal: Personalizer) -> None:
    for label in ("anna", "ben", "cleo", "dora"):
        personal.teach(label, shots(label, 1))
    before = contents(personal)
    with pytest.raises(errors.CapacityError, match="4 label slots, 5 are needed") as caught:
        personal.teach("emil", shots("emil"))
    assert "emil" not in str(caught.value)
    assert contents(personal) == before
    personal.teach("dora", shots("dora", 1))  # a label that has a slot needs none


def test_adapting_that_fails_changes_nothing(tiny_gradient_bundle: Path, tmp_path: Path) -> None:
    with Personalizer(tiny_gradient_bundle, home=tmp_path / "home") as personal:
        personal.teach("anna", shots("anna"))
        personal.adapt()
        personal.teach("ben", shots("ben") * np.float32(1e30))
        before = contents(personal)
        with pytest.raises(errors.DivergedError):
            personal.adapt()
        assert contents(personal) == before


def test_a_label_of_the_bundle_is_predicted_before_anything_is_taught(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    with Personalizer(tiny_labelled_bundle, home=tmp_path / "home") as personal:
        assert personal.labels == ("circle", "square")
        assert personal.predict(shots("anna")).names == ("circle", "square")
        with pytest.raises(errors.UnknownLabelError):
            personal.forget("circle")
        personal.teach("anna", shots("anna"))
        personal.teach("square", shots("ben"))
        personal.adapt()
        assert personal.labels == ("circle", "square", "anna")
        np.testing.assert_array_equal(personal.support()[1], [2, 2, 2, 1, 1, 1])
        assert personal.predict(shots("anna", 1)).labels == ("anna",)
        personal.forget("square")
        assert personal.labels == ("circle", "square", "anna")
        personal.forget("anna")
        assert personal.state == Engine(tiny_labelled_bundle).initial_state()


def test_the_user_s_labels_are_in_order_of_their_oldest_kept_example(
    personal: Personalizer,
) -> None:
    for label in ("anna", "ben", "anna"):
        personal.teach(label, shots(label, 1))
    personal.forget("anna")
    personal.teach("anna", shots("anna", 1))
    assert personal.labels == ("ben", "anna")
    assert [example.label for example in personal.examples] == ["ben", "anna"]
    assert [example.id for example in personal.examples] == [2, 4]


def test_a_closed_personalizer_says_so(bundle: Path, tmp_path: Path) -> None:
    personal = Personalizer(bundle, home=tmp_path / "home")
    personal.close()
    personal.close()
    for call in (personal.adapt, lambda: personal.teach("anna", shots("anna")),
                 lambda: personal.predict(shots("anna"))):  # fmt: skip
        with pytest.raises(errors.StoreError, match="closed"):
            call()
