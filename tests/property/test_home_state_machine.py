"""A home against a simple model of it: any order of changes, crashes among them, loses nothing.

`EDGE_SDK_MACHINE_RUNS=500 pytest tests/property/test_home_state_machine.py` looks harder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from edge_sdk import Engine, NoGenerationError, Personalizer
from edge_sdk.audit import AuditLog
from edge_sdk.audit_journal import AuditJournal
from edge_sdk.drift import DriftOptions, DriftSignal
from edge_sdk.errors import EmptySupportError, UnknownLabelError
from edge_sdk.guardrail_rule import Serve
from tests.conftest import GOLDEN
from tests.support.homes import shots

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sdk import State

BUNDLE = GOLDEN / "tiny_labelled"  # names two of its four slots
LABELS = ("circle", "square", "anna", "ben")
# errors that rise are noticed soon; a shift of features never, for it depends on the clock
DRIFT = DriftOptions(rise_threshold=1.0, burn_in=10**6)


class KilledError(BaseException):
    """The process ends here."""


@dataclass(frozen=True)
class Model:
    """What a home must hold.

    Attributes:
        kept: Id, label and features of each example.
        next_id: The id that the next example gets.
        current: Ids that the state which answers was adapted on; none: the bundle's own.
        previous: The same of the generation before; None where there is none.
        log: Kinds of the entries in the audit log.
    """

    kept: tuple[tuple[int, str, Any], ...] = ()
    next_id: int = 1
    current: tuple[int, ...] = ()
    previous: tuple[int, ...] | None = None
    log: tuple[str, ...] = ()
    advised: bool = field(default=False)

    def logged(self, *kinds: str) -> Model:
        return replace(self, log=(*self.log, *kinds))

    def taught(self, label: str, features: Any) -> Model:
        new = tuple((self.next_id + i, label, row) for i, row in enumerate(features))
        made = replace(self, kept=self.kept + new, next_id=self.next_id + len(new))
        return made.logged("taught")

    def without(self, label: str) -> Model:
        kept = tuple(row for row in self.kept if row[1] != label)
        left = {row[0] for row in kept}
        current = tuple(i for i in self.current if i in left)
        previous = self.previous
        if previous is not None:
            previous = tuple(i for i in previous if i in left)
            if not current and not previous:
                previous = None
        return replace(self, kept=kept, current=current, previous=previous).logged("forgot")

    def adapted(self, serve: Serve) -> Model:
        made = self
        if serve is Serve.CANDIDATE:
            ids = tuple(row[0] for row in self.kept)
            made = replace(self, previous=self.current, current=ids, advised=False)
        elif serve is Serve.BASE and self.current:
            made = replace(self, previous=self.current, current=())
        return made.logged("adapted")

    def drifted(self) -> Model:
        made = replace(self, advised=True).logged("drifted")
        return replace(made, previous=self.current, current=()) if self.current else made

    def rolled_back(self) -> Model:
        assert self.previous is not None
        made = replace(self, current=self.previous, previous=None, advised=False)
        return made.logged("rolled_back")

    def erased(self) -> Model:
        return Model(next_id=self.next_id, log=self.log).logged("erased")

    def state(self, engine: Engine) -> State:
        """f(bundle, examples)."""
        rows = [row for row in self.kept if row[0] in self.current]
        if not rows:
            return engine.initial_state()
        names = list(dict.fromkeys(("circle", "square", *(row[1] for row in rows))))
        slots = np.array([names.index(row[1]) for row in rows])
        return engine.adapt(np.stack([row[2] for row in rows]), slots).state


class Home(RuleBasedStateMachine):
    """One user's home, and the model of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.engine = Engine(BUNDLE)
        self.model = Model()
        self.open()

    def teardown(self) -> None:
        self.personal.close()
        shutil.rmtree(self.folder)

    def open(self) -> None:
        self.personal = Personalizer(self.engine.bundle, home=self.folder, drift=DRIFT)

    @initialize()
    def first(self) -> None:
        self.model = self.model.logged("bundle_opened")

    @rule(label=st.sampled_from(LABELS), n=st.integers(1, 4), draw=st.integers(0, 3))
    def teach(self, label: str, n: int, draw: int) -> None:
        x = shots(LABELS.index(label), n, draw=draw)
        self.personal.teach(label, x)
        self.model = self.model.taught(label, self.engine.embed(x))

    @rule(background=st.booleans())
    def adapt(self, background: bool) -> None:
        if not self.model.kept:
            with pytest.raises(EmptySupportError):
                self.personal.adapt()
            return
        report = (
            self.personal.adapt(background=True).result(60) if background else self.personal.adapt()
        )
        assert report.guardrail is not None
        assert report.version == self.personal.version
        self.model = self.model.adapted(report.guardrail.serve)

    @rule(label=st.sampled_from(LABELS))
    def forget(self, label: str) -> None:
        if label not in {row[1] for row in self.model.kept}:
            with pytest.raises(UnknownLabelError):
                self.personal.forget(label)
            return
        self.personal.forget(label)
        self.model = self.model.without(label)

    @rule(label=st.sampled_from(LABELS), correct=st.booleans(), times=st.integers(1, 20))
    def feedback(self, label: str, correct: bool, times: int) -> None:
        x = shots(LABELS.index(label), 1)
        for _ in range(times):
            report = self.personal.feedback(self.personal.predict(x), correct)
            if report is not None:
                assert report.signal is DriftSignal.ERRORS_ROSE
                self.model = self.model.drifted()

    @rule()
    def roll_back(self) -> None:
        if self.model.previous is None:
            with pytest.raises(NoGenerationError):
                self.personal.roll_back()
            return
        self.personal.roll_back()
        self.model = self.model.rolled_back()

    @rule()
    def erase(self) -> None:
        self.personal.erase()
        self.model = self.model.erased()
        self.reopen()

    @rule()
    def reopen(self) -> None:
        self.personal.close()
        self.reborn()

    @rule()
    def crash(self) -> None:
        self.personal._live.store.close()  # what a process leaves that just ends
        self.reborn()

    def reborn(self) -> None:
        self.open()
        if self.model.log[-1] == "erased":
            self.model = self.model.logged("bundle_opened")

    @precondition(lambda self: self.model.kept)
    @rule(
        what=st.sampled_from(["teach", "forget", "roll_back", "erase", "adapt"]),
        committed=st.booleans(),
    )
    def killed(self, what: str, committed: bool) -> None:
        """Ends just before the commit, or after it and before the log is written."""
        label, x = self.model.kept[0][1], shots(1, 2)
        model = self.model
        calls: dict[str, tuple[Callable[[], object], Callable[[], Model]]] = {
            "teach": (
                lambda: self.personal.teach(label, x),
                lambda: model.taught(label, self.engine.embed(x)),
            ),
            "forget": (lambda: self.personal.forget(label), lambda: model.without(label)),
            "roll_back": (self.personal.roll_back, model.rolled_back),
            "erase": (self.personal.erase, model.erased),
            "adapt": (self.personal.adapt, lambda: model),
        }
        if (what == "roll_back" and model.previous is None) or (what == "adapt" and committed):
            return
        owner: type[AuditLog | AuditJournal]
        owner, name = (AuditLog, "write_planned") if committed else (AuditJournal, "plan")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, _killed)
            with pytest.raises(KilledError):
                calls[what][0]()
        if committed:
            self.model = calls[what][1]()
        self.crash()

    @invariant()
    def holds_what_the_model_says(self) -> None:
        personal, model = self.personal, self.model
        assert [(e.id, e.label) for e in personal.examples] == [row[:2] for row in model.kept]
        assert personal.state == model.state(self.engine)
        assert (personal.version == 0) == (not model.current)
        assert personal.status.damage == ""
        assert (personal.status.recommendation is not None) == model.advised

    @invariant()
    def predicts_with_one_named_version(self) -> None:
        x = shots(0, 1)
        got, state = self.personal.predict(x), self.model.state(self.engine)
        assert got.version == self.personal.version
        logits = self.engine.predict(self.engine.embed(x), state).logits[0].astype(np.float64)
        used = np.flatnonzero(state["counts"] > 0)
        powers = np.exp(logits[used] - logits[used].max())
        np.testing.assert_allclose(
            got.probabilities[0], powers / powers.sum(), rtol=1e-6, atol=1e-30
        )

    @invariant()
    def the_log_tells_it_all_and_verifies(self) -> None:
        report = self.personal.audit_log.verify()
        assert report.ok
        kinds = tuple(record.entry.KIND for record in self.personal.audit_log.records())
        assert kinds == self.model.log


def _killed(*_: object, **__: object) -> None:
    raise KilledError


TestHome = Home.TestCase
TestHome.settings = settings(
    max_examples=int(os.environ.get("EDGE_SDK_MACHINE_RUNS", "20")), stateful_step_count=15
)
