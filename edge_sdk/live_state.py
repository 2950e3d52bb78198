"""Every change of a user's state: stored first, then seen by predictions, then told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk.audit_entries import Erased, Forgot, RolledBack, Taught
from edge_sdk.drift import DriftSignal
from edge_sdk.errors import (
    EdgeError,
    KeyStoreError,
    StoreDamagedError,
    StoreError,
    UnknownExampleError,
    UnknownLabelError,
)
from edge_sdk.events import EventKind
from edge_sdk.guardrail_rule import Serve
from edge_sdk.live_store import LiveStore
from edge_sdk.lost_store import destroy_files
from edge_sdk.outcome import drift_entry, entry_of, event_of, serve_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge_sdk.arrays import Float32Array
    from edge_sdk.audit_entries import AuditEntry
    from edge_sdk.capacity import Capacity
    from edge_sdk.drift import DriftReport
    from edge_sdk.guardrail import GuardrailReport
    from edge_sdk.kept_state import KeptState, Note
    from edge_sdk.personal_state import Current, Fit
    from edge_sdk.store_rows import Example


class LiveState(LiveStore):
    """What `Personalizer` reads and changes. Threads may share it."""

    def teach(self, label: str, rows: Float32Array, capacity: Capacity | None) -> tuple[int, ...]:
        """As `Personalizer.teach`, with rows as `KeptState.teach` takes them."""
        with self.changing() as kept:
            ids = kept.teach(label, rows, capacity)
            self._journal.add(Taught(num_examples=len(ids), num_kept=kept.num_kept()))
        self._tell(())
        return ids

    def commit(
        self,
        candidate: Fit,
        examples: Sequence[Example],
        serving: Current,
        report: GuardrailReport | None = None,
    ) -> int | None:
        """The one place where a candidate becomes current: stored first, then seen by `current`.

        Args:
            candidate: A state fitted to `examples`.
            examples: All that were kept while `serving` answered.
            serving: What answered then.
            report: What the guardrail says; without one the candidate becomes current.

        Returns:
            The version that answers now; None, and nothing changed, where the candidate was fitted
            to what is no longer so.
        """
        ids, current = [example.id for example in examples], None
        with self._lock:
            with self.changing() as kept:
                if kept.unchanged_since(serving, ids):
                    current = self._settle(kept, candidate, ids, serving, serve_of(report))
                    digest = self._engine.bundle.digest
                    num_labels = len({example.label for example in examples})
                    self._journal.add(entry_of(digest, len(ids), num_labels, report))
            if current is not None:
                self._publish(current)
        if current is None:
            self.refresh()
            return None
        self._tell([event_of(report, len(examples))])
        return current.version

    def feedback(self, version: int, answers: Sequence[bool]) -> DriftReport | None:
        """As `Personalizer.feedback`: whether answers that `version` gave were right."""
        with self._lock:
            notes: list[Note] = list(self._read_again())
            current, report = self._current, None
            if current.version == version:
                with self.changing(save_scores=False) as kept:
                    report = self._watch.feedback(answers)
                    if report is not None:
                        current = self._answer_drift(kept, report)
                    self._watch.save(self.store.memory, scores=report is not None)
                self._publish(current)
            if report is not None:
                fell_back = current.version != version
                tail = "; the bundle's own starting state answers" if fell_back else ""
                notes.append((EventKind.DRIFTED, f"{report.signal}: {report.advice}{tail}"))
        self._tell(notes)
        return report

    def roll_back(self) -> None:
        """As `Personalizer.roll_back`."""
        with self._lock:
            with self.changing() as kept:
                current = kept.roll_back()
                self._watch.advice = None
                self._watch.model_changed(*self._adapted(kept, current))
                self._journal.add(RolledBack(num_examples=len(kept.adapted_ids(current.version))))
            self._publish(current)
        self._tell([(EventKind.ROLLED_BACK, "the generation before is current")])

    def forget(self, what: str | int) -> None:
        """As `Personalizer.forget`, `what` being checked."""
        with self._lock:
            with self.changing() as kept:
                ids = self._ids_of(what)
                self._scrub_due = True
                num_before = kept.num_kept()
                kept.forget(ids)
                current, notes = kept.restore(keep=True)
                self._watch.model_changed(*self._adapted(kept, current))
                num_kept = kept.num_kept()
                self._journal.add(Forgot(num_examples=num_before - num_kept, num_kept=num_kept))
            self._publish(current)
            holder = self._scrub()
        self._tell([*notes, (EventKind.FORGOT, "examples and what was learned from them")])
        if holder:
            noun = "label" if isinstance(what, str) else "example"
            raise _bytes_remain(holder, done=f"the {noun} is forgotten")

    def erase(self) -> None:
        """As `Personalizer.erase`."""
        failure: EdgeError | None = None
        with self._lock:
            try:
                with self._recorded(), self.store.transaction():
                    self._scrub_due = True
                    self._journal.add(Erased(num_examples=len(self.store.examples.ids())))
                    self.store.erase()
                    self._journal.plan()
            except StoreDamagedError:
                self._erase_by_force()
            self._watch.reset()
            self._watch_stale = False
            self._publish(self._kept.base())
            holder = self._scrub()
            try:
                self.store.finish_erase()
            except (KeyStoreError, StoreError) as error:
                failure = error
        self._tell([(EventKind.ERASED, "examples and states, and the key that this home had")])
        if holder:
            raise _bytes_remain(holder, done="all is erased")
        if failure is not None:
            raise failure

    def record(self, entries: Iterable[AuditEntry]) -> None:
        """Add to the audit log what no change of the state goes with; it is durable then."""
        with self.changing():
            self.journal(entries)
        self._tell(())

    def journal(self, entries: Iterable[AuditEntry]) -> None:
        """Add to the audit log with the change that is under way (`changing`)."""
        for entry in entries:
            self._journal.add(entry)

    # -------------------------------------------------------------------------------------------

    def _settle(
        self, kept: KeptState, candidate: Fit, ids: Sequence[int], serving: Current, serve: Serve
    ) -> Current:
        """Store what the guardrail decided; returns what answers from now on."""
        if serve is Serve.CURRENT or (serve is Serve.BASE and serving.version == 0):
            return serving
        if serve is Serve.BASE:
            current = kept.fall_back(serving)
        else:
            current = kept.commit(candidate, ids, serving)
            self._watch.advice = None
        self._watch.model_changed(*self._adapted(kept, current))
        return current

    def _answer_drift(self, kept: KeptState, report: DriftReport) -> Current:
        """Fall back to the base where answers became wrong and the base can give any."""
        current = self._current
        fell_back = (
            report.signal is DriftSignal.ERRORS_ROSE
            and current.version != 0
            and bool(kept.base().slots)
        )
        if fell_back:
            current = kept.fall_back(current)
            self._watch.model_changed(*self._adapted(kept, current))
        self._journal.add(drift_entry(report, fell_back=fell_back))
        return current

    def _erase_by_force(self) -> None:
        """Erase a store that cannot be read: the key first, for the files are unreadable anyway."""
        self.store.close()
        if self._keys is not None:
            self._keys.delete()
        destroy_files(self._home)
        self._open()
        self._append(Erased(num_examples=None))

    def _ids_of(self, what: str | int) -> tuple[int, ...]:
        examples = self.store.examples
        if isinstance(what, int):
            if what not in examples.ids(kept=True):
                msg = f"no example {what} is kept"
                raise UnknownExampleError(msg)
            return (what,)
        ids = examples.ids_of(what)
        if not set(ids) & set(examples.ids(kept=True)):
            msg = "this label was never taught here, or has been forgotten"
            raise UnknownLabelError(msg)
        return ids


def _bytes_remain(holder: str, *, done: str) -> StoreError:
    return StoreError(
        f"{done}, but {holder} its bytes in the write-ahead log; they leave it at the next change "
        "or opening"
    )
