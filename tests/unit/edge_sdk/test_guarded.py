"""Personalizer with its guardrail and its drift detection: what answers, and what is told."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import (
    AdaptCancelledError,
    Engine,
    Event,
    EventKind,
    Personalizer,
    PersonalPrediction,
    Source,
    errors,
    open_bundle,
)
from edge_sdk.drift import DriftAdvice, DriftOptions, DriftSignal
from edge_sdk.guardrail_rule import Decision, Reason, Serve
from tests.support import tiny
from tests.support.homes import run_sql, shots

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sdk.drift import DriftReport

WAIT_S = 60
SOON = DriftOptions(rise_threshold=2.0)


def hard_for_the_base(bundle: Path, n: int, *, seed: int = 0) -> tuple[Any, Any]:
    """Examples of "circle" that the labelled bundle takes for squares, and the other way round."""
    engine = Engine(bundle)
    found: dict[int, list[Any]] = {0: [], 1: []}
    rng = np.random.default_rng(seed)
    while min(len(rows) for rows in found.values()) < n:
        x = tiny.examples(rng, 1)
        best = int(engine.predict(engine.embed(x), engine.initial_state()).logits.argmax())
        found[best].append(x[0])
    return np.stack(found[1][:n]), np.stack(found[0][:n])


def teach_swapped(personal: Personalizer, bundle: Path, n: int = 10) -> tuple[Any, Any]:
    """Teach a user for whom the two labels mean the opposite; returns more such examples."""
    circles, squares = hard_for_the_base(bundle, 2 * n)
    personal.teach("circle", circles[:n])
    personal.teach("square", squares[:n])
    return circles[n:], squares[n:]


def writer_of_graphs() -> Any:
    pytest.importorskip("onnx", reason="onnx comes with the extra export")
    return importlib.import_module("tests.support.tiny_graphs")


@pytest.fixture
def strict(tiny_labelled_bundle: Path, tmp_path: Path) -> Path:
    """The labelled bundle with a weak prior, so that a user's examples can turn it around."""
    tiny_graphs = writer_of_graphs()
    init = tiny_graphs.labelled_init()
    init["counts"][:2] = 0.5
    return tiny.rewrite(
        tiny_labelled_bundle,
        tmp_path / "strict",
        graphs={"init.onnx": tiny_graphs.init_graph(init)},
    )


def test_a_state_that_is_shown_better_is_kept(strict: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    with Personalizer(strict, home=tmp_path / "home", on_event=events.append) as personal:
        teach_swapped(personal, strict)
        report = personal.adapt()
        assert report.guardrail is not None
        assert report.guardrail.decision is Decision.KEEP
        assert report.guardrail.reason is Reason.BETTER_THAN_BASE
        assert report.version == personal.version == 1
        assert events[-1].kind is EventKind.ADAPTED


def test_a_state_without_evidence_stays_in_the_shadow(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    home = tmp_path / "home"
    x = shots(0, 1)
    with Personalizer(tiny_labelled_bundle, home=home, on_event=events.append) as personal:
        before = personal.predict(x)
        personal.teach("circle", shots(0, 2))
        report = personal.adapt()
        assert report.guardrail is not None
        assert report.guardrail.decision is Decision.SHADOW
        assert report.guardrail.serve is Serve.BASE
        assert (report.version, personal.status.source) == (0, Source.BASE)
        after = personal.predict(x)
        np.testing.assert_array_equal(after.probabilities, before.probabilities)
        assert [event.kind for event in events] == [EventKind.SHADOWED]
        assert any(values.any() for values in personal.update(1.0).delta.values())
    with Personalizer(tiny_labelled_bundle, home=home) as personal:
        assert (personal.version, len(personal.examples)) == (0, 2)


def test_a_state_that_is_shown_worse_is_reverted_to_the_base(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    engine = Engine(tiny_labelled_bundle)
    right_squares, right_circles = hard_for_the_base(tiny_labelled_bundle, 12)
    home = tmp_path / "home"
    with Personalizer(tiny_labelled_bundle, home=home, guardrail=None) as personal:
        # outliers that pull both prototypes to where the other label is
        personal.teach("circle", -40 * right_circles[:1])
        personal.teach("square", -40 * right_squares[:1])
        personal.adapt()
        assert personal.version == 1
    with Personalizer(tiny_labelled_bundle, home=home, on_event=events.append) as personal:
        personal.teach("circle", right_circles[1:])
        personal.teach("square", right_squares[1:])
        report = personal.adapt()
        assert report.guardrail is not None
        assert report.guardrail.serve is Serve.BASE
        assert report.version == personal.version == 0
        assert personal.state == engine.initial_state()
        assert events[-1].kind in {EventKind.REVERTED, EventKind.SHADOWED}
        assert "the bundle's own state answers" in events[-1].detail
    with Personalizer(tiny_labelled_bundle, home=home) as personal:
        assert personal.version == 0  # for good
        personal.roll_back()  # what was reverted is the generation before
        assert personal.version == 1


def test_without_a_guardrail_every_state_is_kept(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    with Personalizer(tiny_labelled_bundle, home=tmp_path / "home", guardrail=None) as personal:
        personal.teach("circle", shots(0, 2))
        report = personal.adapt()
        assert (report.guardrail, report.version) == (None, 1)


def test_it_can_be_cancelled_while_it_is_judged(tiny_bundle: Path, tmp_path: Path) -> None:
    judging, go = threading.Event(), threading.Event()

    def progress(part: float) -> None:
        if part > 0.5:
            judging.set()
            assert go.wait(WAIT_S)

    with Personalizer(tiny_bundle, home=tmp_path / "home") as personal:
        personal.teach("anna", shots(0))
        personal.teach("ben", shots(1))
        job = personal.adapt(background=True, progress=progress)
        assert judging.wait(WAIT_S)
        assert job.cancel()
        go.set()
        with pytest.raises(AdaptCancelledError):
            job.result(WAIT_S)
        assert personal.version == 0


def drift(personal: Personalizer, x: Any, *, right: int = 60, wrong: int = 80) -> DriftReport:
    """Confirm an answer many times, then deny it until drift is noticed."""
    for _ in range(right):
        assert personal.feedback(personal.predict(x), True) is None
    for _ in range(wrong):
        report = personal.feedback(personal.predict(x), False)
        if report is not None:
            return report
    pytest.fail("the drift was not noticed")


def test_on_drift_the_base_answers_for_good(strict: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    home = tmp_path / "home"
    with Personalizer(strict, home=home, drift=SOON, on_event=events.append) as personal:
        circles, _ = teach_swapped(personal, strict)
        personal.adapt()
        report = drift(personal, circles[:1])
        assert report.signal is DriftSignal.ERRORS_ROSE
        assert report.advice is DriftAdvice.TEACH_AGAIN
        assert (personal.version, personal.status.source) == (0, Source.BASE)
        assert personal.status.recommendation is DriftAdvice.TEACH_AGAIN
        assert events[-1].kind is EventKind.DRIFTED
        assert events[-1].version == 0
    with Personalizer(strict, home=home, drift=SOON) as personal:
        assert personal.version == 0
        assert personal.status.recommendation is DriftAdvice.TEACH_AGAIN
        assert personal.state == Engine(strict).initial_state()
        assert len(personal.examples) == 20
        personal.adapt()
        assert personal.status.recommendation is None
        kinds = [record.entry.KIND for record in personal.audit_log.records()]
        assert kinds == ["bundle_opened", "taught", "taught", "adapted", "drifted", "adapted"]
        assert personal.audit_log.verify().ok


def test_where_the_base_cannot_answer_the_state_stays_and_the_app_is_told(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    with Personalizer(tiny_bundle, home=tmp_path / "home", drift=SOON) as personal:
        personal.teach("anna", shots(0))
        personal.teach("ben", shots(1))
        personal.adapt()
        drift(personal, shots(0, 1))
        assert personal.version == 1
        assert personal.status.recommendation is DriftAdvice.TEACH_AGAIN


def test_feedback_outlives_a_restart(tiny_bundle: Path, tmp_path: Path) -> None:
    x = shots(0, 1)

    def noticed_after(home: Path, restarts: bool) -> int:
        personal = Personalizer(tiny_bundle, home=home, drift=SOON)
        personal.teach("anna", shots(0))
        personal.adapt()
        for number in range(200):
            if restarts and number % 20 == 0:
                personal.close()
                personal = Personalizer(tiny_bundle, home=home, drift=SOON)
            if personal.feedback(personal.predict(x), number < 50) is not None:
                personal.close()
                return number
        pytest.fail("the drift was not noticed")

    assert noticed_after(tmp_path / "a", True) == noticed_after(tmp_path / "b", False)


def test_feedback_on_another_version_is_passed_over(tiny_bundle: Path, tmp_path: Path) -> None:
    with Personalizer(tiny_bundle, home=tmp_path / "home", drift=SOON) as personal:
        personal.teach("anna", shots(0))
        personal.adapt()
        old = personal.predict(shots(0, 1))
        personal.adapt()
        for _ in range(300):
            assert personal.feedback(old, False) is None
        assert personal.status.recommendation is None


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (["anna", "ben"], (True, False)),
        ([True, False], (True, False)),
        (("ben", True), (False, True)),
        (np.array([False, True]), (False, True)),
    ],
)
def test_feedback_is_given_example_by_example(
    tiny_bundle: Path, tmp_path: Path, said: Any, right: tuple[bool, ...]
) -> None:
    from edge_sdk.personal_state import answers_right  # noqa: PLC0415 - the rule under test

    with Personalizer(tiny_bundle, home=tmp_path / "home") as personal:
        personal.teach("anna", shots(0))
        personal.adapt()
        two = personal.predict(shots(0, 2))
        assert answers_right(two, said) == right
        for bad in (True, "anna", [True], [1, 0], None, {"a": 1}):
            with pytest.raises(errors.InvalidOptionError) as caught:
                personal.feedback(two, bad)  # type: ignore[arg-type]
            assert "anna" not in str(caught.value)
        with pytest.raises(errors.InvalidOptionError):
            personal.feedback("anna", True)  # type: ignore[arg-type]
        one: PersonalPrediction = personal.predict(shots(0, 1))
        assert personal.feedback(one, "anna") is None


def test_inputs_that_look_different_are_noticed_without_feedback(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_sdk.live_store._LOOK_EVERY_S", 0.0)
    events: list[Event] = []
    rng = np.random.default_rng(0)
    home = tmp_path / "home"
    with Personalizer(tiny_bundle, home=home, on_event=events.append) as personal:
        personal.teach("anna", shots(0, 8))
        personal.adapt()
        for _ in range(100):
            personal.predict(tiny.class_examples(rng, 1, seed=0))
        assert [event.kind for event in events] == [EventKind.ADAPTED]
    with Personalizer(tiny_bundle, home=home, on_event=events.append) as personal:
        for _ in range(60):  # what was usual is known across the restart
            personal.predict(3 * tiny.class_examples(rng, 1, seed=0) + 1)
        assert events[-1].kind is EventKind.DRIFTED
        assert personal.version == 1  # nothing shows that it is worse than the base
        assert personal.status.recommendation is DriftAdvice.ADAPT_AGAIN
    with Personalizer(tiny_bundle, home=home) as personal:
        assert personal.status.recommendation is DriftAdvice.ADAPT_AGAIN
        assert personal.audit_log.records()[-1].entry.KIND == "drifted"


def test_a_damaged_memory_is_said_and_starts_afresh(tiny_bundle: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Personalizer(tiny_bundle, home=home) as personal:
        personal.teach("anna", shots(0))
        personal.adapt()
        personal.feedback(personal.predict(shots(0, 1)), True)
        before = personal.state.to_bytes()
    run_sql(home, "UPDATE memory SET data = x'00' WHERE name = 'drift'")
    events: list[Event] = []
    with Personalizer(tiny_bundle, home=home, on_event=events.append) as personal:
        assert [event.kind for event in events] == [EventKind.WATCH_RESET]
        assert personal.state.to_bytes() == before
        personal.feedback(personal.predict(shots(0, 1)), True)
    with Personalizer(tiny_bundle, home=home, on_event=events.append):
        assert len(events) == 1


def test_a_state_that_is_worse_under_a_new_bundle_is_not_used(strict: Path, tmp_path: Path) -> None:
    tiny_graphs = writer_of_graphs()
    home = tmp_path / "home"
    with Personalizer(strict, home=home) as personal:
        teach_swapped(personal, strict)
        personal.adapt()
        assert personal.version == 1
        support, slots = personal.support()
    # the next bundle knows this user's meaning by itself, and its prior is not to be moved much
    init = tiny_graphs.labelled_init()
    for slot in (0, 1):
        init["prototypes"][slot] = support[slots == slot].mean(axis=0)
    init["counts"][:2] = 1
    newer = tiny.rewrite(
        strict,
        tmp_path / "newer",
        graphs={"init.onnx": tiny_graphs.init_graph(init)},
        version=2,
        parent=open_bundle(strict).digest,
    )
    with Personalizer(newer, home=home) as personal:
        kinds = [record.entry.KIND for record in personal.audit_log.records()]
        assert kinds[-2:] == ["bundle_opened", "adapted"]
        last = personal.audit_log.records()[-1].entry.to_fields()
        assert (personal.version == 0) == (last["serve"] == "base")
        assert personal.predict(shots(0, 1)).version == personal.version
