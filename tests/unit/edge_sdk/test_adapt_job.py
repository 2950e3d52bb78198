"""Adapting beside the app: the same bits as in one go, progress, cancelling, and no half-way."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, Event, EventKind, Personalizer, errors
from edge_sdk.store import FILE_NAME
from tests.support.homes import shots, teach_in_turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 30.0


@pytest.fixture(params=["tiny_bundle", "tiny_gradient_bundle", "tiny_sequential_bundle"])
def bundle(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def personal(bundle: Path, tmp_path: Path) -> Iterator[Personalizer]:
    with Personalizer(bundle, home=tmp_path / "home") as opened:
        opened.teach("anna", shots(0))
        opened.teach("ben", shots(1))
        yield opened


class Gate:
    """A progress listener that stops an adaptation after its first step until `open` is set."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.parts: list[float] = []

    def __call__(self, part: float) -> None:
        self.parts.append(part)
        self.reached.set()
        assert self.open.wait(WAIT_S)


def test_the_background_gives_the_same_bits(bundle: Path, tmp_path: Path) -> None:
    found = []
    for background in (False, True):
        with Personalizer(bundle, home=tmp_path / str(background)) as personal:
            personal.teach("anna", shots(0, 7))
            personal.teach("ben", shots(1, 4))
            if background:
                job = personal.adapt(background=True)
                report = job.result(WAIT_S)
                assert job.done
                assert job.progress == 1.0
            else:
                report = personal.adapt()
            found.append((personal.state.to_bytes(), report.losses.tobytes(), report.version,
                          report.num_examples, report.num_labels))  # fmt: skip
    assert found[0] == found[1]


def test_progress_is_told_after_each_step(bundle: Path, personal: Personalizer) -> None:
    manifest = Engine(bundle).bundle.manifest
    one_by_one = manifest.adaptation == "sequential"
    steps = len(personal.examples) if one_by_one else manifest.steps
    parts: list[float] = []
    blocking = personal.adapt(progress=parts.append)
    assert parts == [step / steps for step in range(1, steps + 1)]
    assert personal.adapt().losses.tobytes() == blocking.losses.tobytes()


def test_predictions_go_on_with_one_whole_version_meanwhile(
    tiny_gradient_bundle: Path, tmp_path: Path
) -> None:
    with Personalizer(tiny_gradient_bundle, home=tmp_path / "home") as personal:
        teach_in_turn(personal, "anna")
        personal.teach("ben", shots(1))
        gate = Gate()
        job = personal.adapt(background=True, progress=gate)
        assert gate.reached.wait(WAIT_S)
        assert personal.status.adapting
        assert 0 < job.progress < 1
        got = personal.predict(shots(0))
        assert (got.version, got.names) == (1, ("anna",))
        with pytest.raises(TimeoutError):
            job.result(0.01)
        gate.open.set()
        assert job.result(WAIT_S).version == 2
        got = personal.predict(shots(0))
        assert (got.version, got.names) == (2, ("anna", "ben"))
        assert not personal.status.adapting


def test_predicting_waits_for_no_change_of_this_process_or_another(
    bundle: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with Personalizer(bundle, home=home) as personal:
        teach_in_turn(personal, "anna")
        holding, let_go = threading.Event(), threading.Event()

        def hold_a_change() -> None:
            with personal._live.changing():
                holding.set()
                let_go.wait(WAIT_S)

        versions: list[int] = []
        holder = threading.Thread(target=hold_a_change)
        holder.start()
        assert holding.wait(WAIT_S)
        asker = threading.Thread(target=lambda: versions.append(personal.predict(shots(0)).version))
        asker.start()
        asker.join(WAIT_S)
        let_go.set()
        holder.join(WAIT_S)
        assert versions == [1]
        other = sqlite3.connect(home / FILE_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(0.025)  # so that `predict` looks at the store
        started = time.monotonic()
        assert personal.predict(shots(0)).version == 1
        assert time.monotonic() - started < 5  # the busy timeout is 10 s
        other.close()


def test_cancelling_between_steps_changes_nothing(
    tiny_gradient_bundle: Path, tmp_path: Path
) -> None:
    with Personalizer(tiny_gradient_bundle, home=tmp_path / "home") as personal:
        teach_in_turn(personal, "anna")
        before = personal.state.to_bytes(), personal.version
        personal.teach("ben", shots(1))
        gate = Gate()
        job = personal.adapt(background=True, progress=gate)
        assert gate.reached.wait(WAIT_S)
        assert job.cancel()
        assert job.cancel()
        gate.open.set()
        with pytest.raises(errors.AdaptCancelledError):
            job.result(WAIT_S)
        assert len(gate.parts) == 1  # of five
        assert (personal.state.to_bytes(), personal.version) == before
        assert personal.adapt().version == 2
    with Personalizer(tiny_gradient_bundle, home=tmp_path / "home") as again:
        assert again.version == 2


def test_what_is_committed_can_no_longer_be_cancelled(personal: Personalizer) -> None:
    job = personal.adapt(background=True)
    job.result(WAIT_S)
    assert not job.cancel()
    assert personal.version == 1


def test_an_error_surfaces_through_the_job(tiny_gradient_bundle: Path, tmp_path: Path) -> None:
    with Personalizer(tiny_gradient_bundle, home=tmp_path / "home") as personal:
        job = personal.adapt(background=True)
        with pytest.raises(errors.EmptySupportError):
            job.result(WAIT_S)
        teach_in_turn(personal, "anna")
        before = personal.state
        personal.teach("ben", shots(1) * np.float32(1e30))
        job = personal.adapt(background=True)
        with pytest.raises(errors.DivergedError, match=r"at step [12]"):
            job.result(WAIT_S)
        assert not job.cancel()
        assert personal.state == before


@pytest.mark.parametrize("background", [False, True])
def test_a_listener_that_fails_stops_the_adaptation(
    personal: Personalizer, *, background: bool
) -> None:
    def fail(part: float) -> None:
        raise ZeroDivisionError(part)

    def adapt() -> None:
        if background:
            personal.adapt(background=True, progress=fail).result(WAIT_S)
        else:
            personal.adapt(progress=fail)

    with pytest.raises(ZeroDivisionError):
        adapt()
    assert personal.version == 0
    personal.adapt()


def test_forgetting_meanwhile_makes_it_start_again(bundle: Path, tmp_path: Path) -> None:
    with Personalizer(bundle, home=tmp_path / "home") as personal:
        personal.teach("anna", shots(0))
        personal.teach("ben", shots(1))
        gate = Gate()
        job = personal.adapt(background=True, progress=gate)
        assert gate.reached.wait(WAIT_S)
        personal.forget("anna")
        personal.teach("cleo", shots(2))
        gate.open.set()
        assert job.result(WAIT_S).num_examples == 6
        features, slots = personal.support()
        assert personal.state == Engine(bundle).adapt(features, slots).state
        assert personal.predict(shots(1)).names == ("ben", "cleo")


def test_erasing_meanwhile_leaves_nothing_to_adapt_to(bundle: Path, tmp_path: Path) -> None:
    with Personalizer(bundle, home=tmp_path / "home") as personal:
        personal.teach("anna", shots(0))
        gate = Gate()
        job = personal.adapt(background=True, progress=gate)
        assert gate.reached.wait(WAIT_S)
        personal.erase()
        gate.open.set()
        with pytest.raises((errors.AdaptCancelledError, errors.EmptySupportError)):
            job.result(WAIT_S)
        assert personal.version == 0
        assert personal.state == Engine(bundle).initial_state()


@pytest.mark.parametrize("finish", [False, True])
def test_closing_cancels_or_waits(
    tiny_gradient_bundle: Path, tmp_path: Path, *, finish: bool
) -> None:
    personal = Personalizer(tiny_gradient_bundle, home=tmp_path / "home")
    personal.teach("anna", shots(0))
    gate = Gate()
    job = personal.adapt(background=True, progress=gate)
    assert gate.reached.wait(WAIT_S)
    closing = threading.Thread(target=personal.close, kwargs={"finish": finish})
    closing.start()
    while not finish and not job.cancel():
        pass  # until close has asked for it
    gate.open.set()
    closing.join(WAIT_S)
    assert job.done
    with Personalizer(tiny_gradient_bundle, home=tmp_path / "home") as again:
        assert again.version == (1 if finish else 0)
    if finish:
        assert job.result().version == 1
    else:
        with pytest.raises(errors.AdaptCancelledError):
            job.result()


def test_two_at_once_run_one_after_the_other(personal: Personalizer) -> None:
    gate = Gate()
    first = personal.adapt(background=True, progress=gate)
    assert gate.reached.wait(WAIT_S)
    second = personal.adapt(background=True)
    third = personal.adapt(background=True)
    assert third.cancel()
    with pytest.raises(errors.AdaptCancelledError):
        third.result(WAIT_S)
    assert not second.done
    gate.open.set()
    assert first.result(WAIT_S).version == 1
    assert second.result(WAIT_S).version == 2


def test_events_tell_what_happened_and_a_bad_listener_harms_nothing(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if event.version:
            personal.predict(shots(0))
        label = "anna"
        raise KeyError(label)

    with Personalizer(bundle, home=tmp_path / "home", on_event=listen) as personal:
        personal.teach("anna", shots(0))
        personal.adapt()
        personal.adapt(background=True).result(WAIT_S)
        personal.roll_back()
        personal.forget("anna")
        personal.erase()
    kinds = [(event.kind, event.version) for event in events]
    assert kinds == [
        (EventKind.ADAPTED, 1),
        (EventKind.ADAPTED, 2),
        (EventKind.ROLLED_BACK, 1),
        (EventKind.FORGOT, 0),
        (EventKind.ERASED, 0),
    ]
    assert "KeyError" in caplog.text
    assert "anna" not in caplog.text


def test_threads_always_see_one_whole_version(tiny_bundle: Path, tmp_path: Path) -> None:
    """Each version has its own labels, so a prediction mixed from two of them would show."""
    everyone = ("anna", "ben", "cleo")
    names_of = {1: everyone[:1], 2: everyone[:2], 3: everyone, 4: everyone}
    seen: set[int] = set()
    with Personalizer(tiny_bundle, home=tmp_path / "home") as personal:
        teach_in_turn(personal, "anna")
        stop, wrong = threading.Event(), []

        def ask() -> None:
            while not stop.is_set():
                got = personal.predict(shots(0, 1))
                seen.add(got.version)
                names = names_of[got.version]
                if (got.names, got.probabilities.shape[1]) != (names, len(names)):
                    wrong.append(got)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for seed, label in ((1, "ben"), (2, "cleo")):
            personal.teach(label, shots(seed))
            personal.adapt(background=True).result(WAIT_S)
        personal.roll_back()
        personal.adapt(background=True).result(WAIT_S)
        stop.set()
        for thread in threads:
            thread.join(WAIT_S)
    assert not wrong
    assert len(seen) > 1
