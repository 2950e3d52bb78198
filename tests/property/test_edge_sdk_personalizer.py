"""Laws of the personalizer over random histories: forgetting is exact, and leaves no bytes."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk import Engine, Personalizer, State
from edge_sdk.errors import EmptySupportError, NoGenerationError, UnknownLabelError
from tests.conftest import GOLDEN
from tests.support import tiny

Step = tuple[str, str, int]

BUNDLES = {name: Engine(GOLDEN / name).bundle for name in ("tiny_prototypical", "tiny_gradient")}
LABELS = ("anna-label", "ben-label", "cleo-label", "dora-label")
STEPS = st.one_of(
    st.tuples(st.just("teach"), st.sampled_from(LABELS), st.integers(1, 3)),
    st.tuples(st.just("adapt"), st.just(""), st.just(0)),
    st.tuples(st.just("forget"), st.sampled_from(LABELS), st.just(0)),
    st.tuples(st.just("roll_back"), st.just(""), st.just(0)),
)
HISTORIES = st.lists(STEPS, max_size=12)

# Each example opens stores and writes to disk, so there are fewer than in other tests.
FEWER = settings(max_examples=settings().max_examples // 5)


def apply(personal: Personalizer, step: Step, number: int) -> None:
    """One step; `number` picks the examples, so that the same step teaches the same ones."""
    kind, label, n = step
    if kind == "teach":
        rng = np.random.default_rng(number)
        personal.teach(label, tiny.class_examples(rng, n, seed=LABELS.index(label)))
    elif kind == "adapt":
        try:
            personal.adapt()
        except EmptySupportError:
            assert personal.examples == ()
    elif kind == "roll_back":
        with suppress(NoGenerationError):
            personal.roll_back()
    else:
        try:
            personal.forget(label)
        except UnknownLabelError:
            assert label not in personal.labels


def end_of(bundle: str, history: list[tuple[int, Step]]) -> tuple[State, tuple[str, ...]]:
    with (
        tempfile.TemporaryDirectory() as home,
        Personalizer(BUNDLES[bundle], home=home) as personal,
    ):
        for number, step in history:
            apply(personal, step, number)
        return personal.state, personal.labels


@FEWER
@given(bundle=st.sampled_from(sorted(BUNDLES)), history=HISTORIES, gone=st.sampled_from(LABELS))
def test_forgetting_equals_never_having_been_taught(
    bundle: str, history: list[Step], gone: str
) -> None:
    numbered = list(enumerate(history))
    forgotten = end_of(bundle, [*numbered, (len(history), ("forget", gone, 0))])
    never = end_of(bundle, [(number, step) for number, step in numbered if step[1] != gone])
    assert forgotten[0].to_bytes() == never[0].to_bytes()
    assert forgotten[1] == never[1]


@FEWER
@given(history=HISTORIES)
def test_what_is_forgotten_is_in_no_file(history: list[Step]) -> None:
    with (
        tempfile.TemporaryDirectory() as home,
        Personalizer(BUNDLES["tiny_prototypical"], home=home) as personal,
    ):
        kept: dict[str, set[bytes]] = {}
        forgotten: set[bytes] = set()
        for number, step in enumerate(history):
            apply(personal, step, number)
            features, slots = personal.support()
            for row, slot in zip(features, slots, strict=True):
                kept.setdefault(personal.labels[slot], set()).add(row.tobytes())
            if step[0] == "forget":
                forgotten |= kept.pop(step[1], set())
                data = b"".join(path.read_bytes() for path in Path(home).iterdir())
                assert not [row for row in forgotten if row in data]
                absent = set(LABELS) - set(personal.labels)
                assert not [label for label in absent if label.encode() in data]


@FEWER
@given(bundle=st.sampled_from(sorted(BUNDLES)), history=HISTORIES)
def test_a_store_reopens_as_it_was(bundle: str, history: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as home:
        with Personalizer(BUNDLES[bundle], home=home) as personal:
            for number, step in enumerate(history):
                apply(personal, step, number)
            before = personal.state.to_bytes(), personal.labels, personal.examples
        with Personalizer(BUNDLES[bundle], home=home) as personal:
            assert (personal.state.to_bytes(), personal.labels, personal.examples) == before
