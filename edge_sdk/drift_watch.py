"""Watches the state that answers: feeds the drift monitor beside `predict`, keeps its memory."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.drift import DriftAdvice, DriftMonitor, FeatureReference
from edge_sdk.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_sdk.arrays import Float32Array, Int64Array
    from edge_sdk.drift import DriftOptions, DriftReport
    from edge_sdk.store_notes import Memory

# Examples looked at each time the fast path looks at the store: it bounds what watching costs.
_MAX_WAITING = 4
_FEEDBACK, _SCORES, _ADVICE = "drift", "drift.scores", "advice"


class _Ties:
    """Breaks ties between equal scores. numpy.random would take longer to import than all else."""

    def __init__(self) -> None:
        self._random = random.Random(0)  # noqa: S311 - no secret

    def uniform(self) -> float:
        return self._random.random()


class DriftWatch:
    """The drift monitor of one home, and what it advises. Its owner holds a lock.

    `offer` alone may run beside the others, in any thread.

    Attributes:
        advice: What the app should offer its user; None where nothing has drifted.

    Args:
        options: Thresholds.
    """

    def __init__(self, options: DriftOptions) -> None:
        self._monitor = DriftMonitor(rng=_Ties(), options=options)
        self._reference: FeatureReference | None = None
        self._waiting: deque[Float32Array] = deque(maxlen=_MAX_WAITING)
        self._unsaved = False
        self.advice: DriftAdvice | None = None

    def offer(self, features: Float32Array) -> None:
        """Features `[n, *features.shape]` in use: a few are kept until `examine`, others passed."""
        room = _MAX_WAITING - len(self._waiting)
        if room > 0 and self._reference is not None:
            self._waiting.extend(features[:room].copy())

    def examine(self) -> DriftReport | None:
        """Score what was offered; returns a report where it has come to look different."""
        rows: list[Float32Array] = []
        while self._waiting and len(rows) < _MAX_WAITING:  # others may append meanwhile
            row = self._waiting.popleft()
            if np.isfinite(row).all():
                rows.append(row)
        if not rows or self._reference is None:
            return None
        self._unsaved = True
        report = self._monitor.watch(np.stack(rows), self._reference)
        if report is not None:
            self.advice = report.advice
        return report

    def feedback(self, answers: Iterable[bool]) -> DriftReport | None:
        """Whether answers were right, in the order given; the last report, if there is any."""
        found = None
        for correct in answers:
            found = self._monitor.feedback(correct) or found
        if found is not None:
            self.advice = found.advice
        return found

    def model_changed(self, features: Float32Array, slots: Int64Array) -> None:
        """Another state answers, adapted to examples `[n, *features.shape]`, n = 0 for the base."""
        self._monitor.model_changed()
        self.compare_with(features, slots)

    def compare_with(self, features: Float32Array, slots: Int64Array) -> None:
        """What features usually look like, `[n, *features.shape]`; n = 0: that is not known."""
        self._waiting.clear()
        self._reference = FeatureReference.of(features, slots) if len(features) else None

    def load(self, memory: Memory) -> str:
        """Go on where the last process stopped; inside a transaction or snapshot.

        Returns:
            What of it is damaged, empty for nothing: the watch then starts afresh.
        """
        self._waiting.clear()
        self._monitor.reset()
        self._unsaved = False
        try:
            for name in (_SCORES, _FEEDBACK):
                text = memory.get(name)
                if text is not None:
                    self._monitor.restore(text)
            advice = memory.get(_ADVICE)
            self.advice = DriftAdvice(advice) if advice else None
        except (StoreError, ValueError) as error:
            self._monitor.reset()
            self.advice = None
            return str(error)
        return ""

    def save(self, memory: Memory, *, scores: bool) -> None:
        """Keep what is known; inside a transaction. `scores` are many numbers: not at each time."""
        memory.set(_FEEDBACK, self._monitor.to_json(scores=False))
        memory.set(_ADVICE, self.advice or "")
        if scores:
            memory.set(_SCORES, self._monitor.to_json())
            self._unsaved = False

    @property
    def unsaved(self) -> bool:
        """Whether examples were scored since the scores were saved."""
        return self._unsaved

    def reset(self) -> None:
        """Another bundle, or another user: nothing is known."""
        self._monitor.reset()
        self._waiting.clear()
        self._reference = None
        self.advice = None
        self._unsaved = False
