"""Four threads predict while one adapts and one changes what is kept: each answer is one version's.

`EDGE_SDK_STRESS_SECONDS=60 pytest tests/e2e/test_stress.py -s` goes on for longer (two seconds by
default) and prints what was seen. `csrc/tests/stress_test.cpp` is the same under TSan.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from edge_sdk import Engine, Personalizer, errors
from edge_sdk.live_state import LiveState
from edge_sdk.personal_state import read_prediction
from tests.support.homes import shots

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_sdk.personal_state import Current, PersonalPrediction

SECONDS = float(os.environ.get("EDGE_SDK_STRESS_SECONDS", "2")) / 2  # of each learner
NUM_PREDICTING = 4
CHANGES = ("teach", "teach", "forget", "teach", "roll back") * 3 + ("erase",)
LABELS = ("anna", "ben", "cleo", "dora")
QUERY = shots(0, 2, draw=9)
# What a change may meet because another thread was faster.
TOO_LATE = (
    errors.AdaptCancelledError,
    errors.EmptySupportError,
    errors.NoGenerationError,
    errors.UnknownLabelError,
)

Answer = tuple[tuple[str, ...], bytes, tuple[str, ...]]


def answer_of(got: PersonalPrediction) -> Answer:
    return got.names, got.probabilities.tobytes(), got.labels


class Threads:
    """Runs work over and over in threads, for a while; what one raises fails the test."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []

    def add(self, work: Callable[[int], object]) -> None:
        self._threads.append(threading.Thread(target=self._repeat, args=(work,)))

    def run(self, seconds: float, *, enough: Callable[[], bool]) -> None:
        """Run for `seconds`, and on a busy machine for up to a minute more, until it is enough."""
        for thread in self._threads:
            thread.start()
        least = time.monotonic() + seconds
        while not self._stop.wait(0.05) and (now := time.monotonic()) < least + 60:
            if now >= least and enough():
                break
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a thread waits for something that never comes"
        if self._failures:
            raise self._failures[0]

    def _repeat(self, work: Callable[[int], object]) -> None:
        turn = 0
        while not self._stop.is_set():
            try:
                work(turn)
            except BaseException as error:  # noqa: BLE001 - raised again by `run`
                self._failures.append(error)
                self._stop.set()
            turn += 1


class User:
    """One user's personalizer, what its threads do with it, and what they saw."""

    def __init__(self, personal: Personalizer) -> None:
        self.personal = personal
        self.did: Counter[str] = Counter()
        self.seen: list[dict[int, Answer]] = []

    def predicting(self) -> Callable[[int], None]:
        """The work of one predicting thread, which keeps the first answer of each version."""
        answers: dict[int, Answer] = {}
        self.seen.append(answers)

        def predict(_: int) -> None:
            try:
                got = self.personal.predict(QUERY)
            except errors.NothingTaughtError:
                self.did["refused"] += 1
                return
            assert answers.setdefault(got.version, answer_of(got)) == answer_of(got)
            self.did["predicted"] += 1

        return predict

    def adapt(self, turn: int) -> None:
        """The work of the adapting thread: in the background and not, in turn."""
        try:
            if turn % 2:
                self.personal.adapt(background=True).result(60)
            else:
                self.personal.adapt()
            self.did["adapted"] += 1
        except TOO_LATE:
            self.did["too late"] += 1
            time.sleep(0.001)  # there may be nothing to adapt to for a while

    def change(self, turn: int) -> None:
        """The work of the thread that commits everything else."""
        kind = CHANGES[turn % len(CHANGES)]
        label = LABELS[turn // 2 % len(LABELS)]
        try:
            if kind == "teach":
                self.personal.teach(label, shots(turn % 11, 2, draw=turn))
            elif kind == "forget":
                self.personal.forget(label)
            elif kind == "roll back":
                self.personal.roll_back()
            else:
                self.personal.erase()
            self.did[kind] += 1
        except TOO_LATE:
            self.did["too late"] += 1

    def check(self, bundle: Path, published: dict[int, Current]) -> None:
        """Each answer must be what its version's state gives."""
        engine = Engine(bundle)
        features = engine.embed(QUERY)
        for answers in self.seen:
            for version, answer in answers.items():
                current = published[version]
                prediction = engine.predict(features, current.state)
                assert answer_of(read_prediction(prediction, current)) == answer, version
        assert self.saw_changes

    @property
    def saw_changes(self) -> bool:
        """Whether enough happened for the answers to tell anything."""
        versions: set[int] = set().union(*map(list, self.seen))
        often = self.did["predicted"] > NUM_PREDICTING and self.did["adapted"] > 1
        return often and len(versions) > 1


@pytest.mark.parametrize("learner", ["closed_form", "gradient"])
def test_every_answer_is_of_the_version_it_names(
    tiny_bundle: Path,
    tiny_gradient_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    learner: str,
) -> None:
    bundle = tiny_bundle if learner == "closed_form" else tiny_gradient_bundle
    published: dict[int, Current] = {}
    publish = LiveState._publish

    def record(live: LiveState, current: Current) -> None:
        first = published.setdefault(current.version, current)
        assert first.state == current.state, "a version's number was used twice"
        publish(live, current)

    monkeypatch.setattr(LiveState, "_publish", record)
    with Personalizer(bundle, home=tmp_path / "home") as personal:
        personal.teach("anna", shots(0))
        personal.adapt()
        user, threads = User(personal), Threads()
        for _ in range(NUM_PREDICTING):
            threads.add(user.predicting())
        threads.add(user.adapt)
        threads.add(user.change)
        threads.run(SECONDS, enough=lambda: user.saw_changes)
        last = personal.version, personal.state.to_bytes()
    user.check(bundle, published)
    with Personalizer(bundle, home=tmp_path / "home") as again:
        assert (again.version, again.state.to_bytes()) == last
        assert again.status.damage == ""
    print(f"{learner}: {len(published)} versions, {dict(user.did)}")  # noqa: T201 - shown by -s
