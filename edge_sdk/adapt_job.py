"""An adaptation that runs beside the app: its progress, its end, and how to stop it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.background import pause, yield_to_the_app
from edge_sdk.errors import AdaptCancelledError, EmptySupportError
from edge_sdk.guardrail import Probe, judge
from edge_sdk.personal_state import fit, targets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge_sdk.arrays import Float32Array
    from edge_sdk.engine import Engine
    from edge_sdk.guardrail import GuardrailReport
    from edge_sdk.guardrail_rule import GuardrailOptions
    from edge_sdk.live_state import LiveState
    from edge_sdk.personal_state import Fit
    from edge_sdk.store_rows import Example

_POLL_S = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class AdaptReport:
    """What `adapt` did, and what the guardrail decided.

    Attributes:
        losses: float32 `[steps]`, in nats.
        num_examples: Examples adapted on.
        num_labels: Distinct labels among them; 1 where values are taught.
        duration_ms: Wall time, judging and storing included.
        version: The version that answers now: that of the adapted state where the guardrail kept
            it, else that of the state before, or 0, the bundle's own.
        guardrail: The decision and its evidence; None where no guardrail was asked.
    """

    losses: Float32Array
    num_examples: int
    num_labels: int
    duration_ms: float
    version: int
    guardrail: GuardrailReport | None


class AdaptJob:
    """An adaptation under way, from `Personalizer.adapt(background=True)`. Threads may share it.

    Until it commits, nothing that anyone can see has changed; it then changes all at once.
    """

    def __init__(
        self,
        work: Callable[[AdaptJob], AdaptReport],
        *,
        sliced: bool,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self._work, self._sliced, self._listener = work, sliced, progress
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._cancelled = self._committing = False
        self._progress = 0.0
        self._report: AdaptReport | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended: committed, failed or cancelled."""
        return self._ended.is_set()

    @property
    def progress(self) -> float:
        """The part of the work that is done, 0 to 1; 1 once committed."""
        return self._progress

    def cancel(self) -> bool:
        """Ask it to stop after this inner step or fold of the guardrail; it does not wait for that.

        Returns:
            Whether it will never be committed by this job: False where its commit has begun or is
            done, or where it failed.
        """
        with self._lock:
            if not self._committing and not self._ended.is_set():
                self._cancelled = True
            return self._cancelled

    def result(self, timeout_s: float | None = None) -> AdaptReport:
        """Wait for its end and return what it did.

        Args:
            timeout_s: The longest wait, in seconds; as long as it takes by default.

        Raises:
            TimeoutError: It has not ended by then; it goes on.
            AdaptCancelledError: It was cancelled; the state is what it was.
            EdgeError: What `adapt` raises; the state is what it was.
        """
        if not self._ended.wait(timeout_s):
            msg = f"the adaptation has not ended after {timeout_s} s"
            raise TimeoutError(msg)
        if self._error is not None:
            raise self._error
        assert self._report is not None  # noqa: S101 - one of both is set before the event
        return self._report

    # --- for the personalizer --------------------------------------------------------------------

    def start(self) -> None:
        """Run in a thread of its own; the interpreter waits for it before it exits."""
        self._thread = threading.Thread(target=self._run_quietly, name="edge-sdk-adapt")
        self._thread.start()

    def run(self) -> AdaptReport:
        """Run in the caller's thread and return what it did, or raise as `result` does."""
        try:
            self._report = self._work(self)
            self._progress = 1.0
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._ended.set()
        return self._report

    def join(self) -> None:
        """Wait for the thread; a listener that closes runs in it and has nothing to wait for."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def after_part(self, begin: float, end: float) -> Callable[[float], None] | None:
        """What to call with the part done, in (0, 1], of what is `begin` to `end` of the whole.

        None where parts need not be told apart.
        """
        if not self._sliced:
            return None
        return lambda part: self._note(begin + (end - begin) * part)

    def check(self) -> None:
        """Stop here if that was asked for.

        Raises:
            AdaptCancelledError: It was.
        """
        if self._cancelled:
            raise _cancelled()

    def begin_commit(self) -> None:
        """From here on it cannot be cancelled.

        Raises:
            AdaptCancelledError: It was cancelled before.
        """
        with self._lock:
            self.check()
            self._committing = True

    def start_again(self) -> None:
        """The commit did not come about, and nothing changed: it can be cancelled again."""
        with self._lock:
            self._committing = False

    @contextmanager
    def turn(self, lock: threading.Lock) -> Iterator[None]:
        """Hold a lock; while waiting for it, it can be cancelled."""
        while not lock.acquire(timeout=_POLL_S):
            self.check()
        try:
            yield
        finally:
            lock.release()

    def _note(self, part: float) -> None:
        self._progress = part
        pause()
        if self._listener is not None:
            self._listener(part)
        self.check()

    def _run_quietly(self) -> None:
        yield_to_the_app()
        try:
            self.run()
        except BaseException:  # noqa: BLE001 - `result` raises it
            return


class Adapter:
    """Runs the adaptations of one personalizer: one at a time, in the background or not."""

    def __init__(self, engine: Engine, live: LiveState, guardrail: GuardrailOptions | None) -> None:
        self._engine, self._live, self._guardrail = engine, live, guardrail
        self._probe = None if guardrail is None else Probe.of(engine)
        self._one_at_a_time = threading.Lock()
        self._lock = threading.Lock()
        self._jobs: tuple[AdaptJob, ...] = ()

    @property
    def busy(self) -> bool:
        """Whether one is under way in the background."""
        return any(not job.done for job in self._jobs)

    def run(self, progress: Callable[[float], None] | None) -> AdaptReport:
        """Adapt in the caller's thread; in one go, where nobody asks for progress."""
        return AdaptJob(self._adapt, sliced=progress is not None, progress=progress).run()

    def start(self, progress: Callable[[float], None] | None) -> AdaptJob:
        """Adapt in a thread, step by step."""
        job = AdaptJob(self._adapt, sliced=True, progress=progress)
        with self._lock:
            self._jobs = (*(other for other in self._jobs if not other.done), job)
            job.start()
        return job

    def stop(self, *, cancel: bool, wait: bool) -> None:
        """Ask those in the background to stop, or wait for them, or both."""
        with self._lock:
            jobs = self._jobs
        for job in jobs:
            if cancel:
                job.cancel()
        for job in jobs:
            if wait:
                job.join()

    def _adapt(self, job: AdaptJob) -> AdaptReport:
        """Fit a candidate to what is kept, without the state's lock, until one is committed."""
        started = time.perf_counter()
        with job.turn(self._one_at_a_time):
            while True:
                job.start_again()
                job.check()
                with self._live.reading() as kept:
                    serving = self._live.seen()
                    examples, features = kept.support()
                    seen = set(kept.adapted_ids(serving.version))
                if not examples:
                    msg = "nothing is taught; call teach() first"
                    raise EmptySupportError(msg)
                fitted = self._share_of_fitting(examples)
                after_step = job.after_part(0, fitted)
                candidate = fit(self._engine, examples, features, after_step=after_step)
                report = self._judge(job, fitted, examples, features, candidate, seen)
                job.begin_commit()
                version = self._live.commit(candidate, examples, serving, report)
                if version is not None:
                    return AdaptReport(
                        losses=candidate.losses,
                        num_examples=len(examples),
                        num_labels=len({example.label for example in examples}),
                        duration_ms=(time.perf_counter() - started) * 1e3,
                        version=version,
                        guardrail=report,
                    )

    def _share_of_fitting(self, examples: Sequence[Example]) -> float:
        """The part of the work that is not judging, where each fold is an adaptation, too."""
        if self._guardrail is None:
            return 1.0
        most_of_a_label = max(Counter(example.label for example in examples).values())
        return 1 / (1 + min(self._guardrail.folds, most_of_a_label))

    def _judge(
        self,
        job: AdaptJob,
        fitted: float,
        examples: Sequence[Example],
        features: Float32Array,
        candidate: Fit,
        seen: set[int],
    ) -> GuardrailReport | None:
        """Ask the guardrail; `seen` are the ids that the state which serves was adapted on."""
        if self._guardrail is None:
            return None
        return judge(
            self._engine,
            features,
            targets_of(self._engine.bundle.manifest, examples),
            candidate.state,
            current=np.array([example.id in seen for example in examples]),
            probe=self._probe,
            options=self._guardrail,
            after_fold=job.after_part(fitted, 1.0),
        )


def _cancelled() -> AdaptCancelledError:
    return AdaptCancelledError("the adaptation was cancelled; the state is unchanged")
