"""Notices that a model no longer fits: from feedback on its answers, and from features alone.

On drift the caller falls back to the base and tells the app; the report says what to advise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import numpy as np

from edge_sdk.arrays import as_examples, as_rows, as_slots
from edge_sdk.change_detection import Adwin, ConformalDetector, PageHinkley
from edge_sdk.errors import EmptySupportError, InvalidOptionError, StoreError

if TYPE_CHECKING:
    import numpy.typing as npt

    from edge_sdk.arrays import Float32Array, Int64Array
    from edge_sdk.change_detection import Uniform

FORMAT = 1


class DriftSignal(StrEnum):
    """What changed."""

    ERRORS_ROSE = "errors_rose"
    FEATURES_SHIFTED = "features_shifted"


class DriftAdvice(StrEnum):
    """What the app should offer."""

    TEACH_AGAIN = "teach_again"  # inputs look the same, but answers are wrong: labels moved
    ADAPT_AGAIN = "adapt_again"  # inputs look different: teach some of the new ones, then adapt
    NEW_BUNDLE = "new_bundle"  # inputs look different, and teaching did not help


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftOptions:
    """How soon drift is noticed, against how often wrongly.

    With the defaults both false-alarm rates are below 0.05 a thousand events at errors of up to
    50 %, and a rise of the error from 10 to 30 % is noticed in fewer than 150 answers by half of
    all users, once some hundreds came before (benchmarks/guard/drift.py measures both).

    Attributes:
        adwin_delta: Of `Adwin`.
        rise: Rise of the error rate that is let pass, of `PageHinkley`.
        rise_threshold: Of `PageHinkley`, in wrong answers.
        shift_rate: False alarms an example of the feature-shift detector, which are proven.
        burn_in: Examples that it learns from before it can notice.
    """

    adwin_delta: float = 0.002
    rise: float = 0.1
    rise_threshold: float = 11.0
    shift_rate: float = 5e-5
    burn_in: int = 50


DEFAULT_DRIFT = DriftOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """What was noticed.

    Attributes:
        signal: What changed.
        advice: What the app should offer.
        detector: Which detector noticed.
        num_events: Events (feedbacks, or examples) since the start or the drift before.
        error_rate: Of the latest answers, as ADWIN's window has it; None for a shift of features.
    """

    signal: DriftSignal
    advice: DriftAdvice
    detector: str
    num_events: int
    error_rate: float | None


@dataclass(frozen=True, slots=True, eq=False)
class FeatureReference:
    """Moments of the taught examples: what features usually look like.

    Attributes:
        means: float64 `[labels, dim]`, of each label.
        variances: float64 `[dim]`, around those means.
    """

    means: npt.NDArray[np.float64]
    variances: npt.NDArray[np.float64]

    @classmethod
    def of(cls, features: Float32Array, slots: Int64Array) -> Self:
        """From n >= 1 examples' features, float32 `[n, ...]`, and slots, int64 `[n]`.

        Raises:
            DtypeMismatchError, ShapeMismatchError, NonFiniteError, LabelRangeError: An array is
                not as above.
            EmptySupportError: There is no example.
        """
        rows = as_rows(features, shape=tuple(np.shape(features)[1:]), name="features")
        labels = as_slots(slots, num_rows=len(rows), ways=np.iinfo(np.int64).max, name="slots")
        if len(rows) == 0:
            msg = "features must hold at least one example"
            raise EmptySupportError(msg)
        rows = rows.reshape(len(rows), -1)
        wide = rows.astype(np.float64)
        used, place = np.unique(labels, return_inverse=True)
        means = np.stack([wide[place == i].mean(axis=0) for i in range(len(used))])
        centres = means[place] if len(rows) > len(used) else wide.mean(axis=0)
        variances = ((wide - centres) ** 2).mean(axis=0)
        average = float(variances.mean())
        # few examples say little about one dimension: lean on the average of all
        return cls(means, (variances + average) / 2 if average > 0 else np.ones_like(variances))

    def scores(self, features: Float32Array) -> npt.NDArray[np.float64]:
        """How far each example lies from the nearest label's mean; float64 `[n]`.

        Mean squared deviation over the dimensions, in units of the usual variance.
        """
        rows = features.reshape(len(features), -1).astype(np.float64) / np.sqrt(self.variances)
        means = self.means / np.sqrt(self.variances)
        squares = ((rows[:, None, :] - means[None]) ** 2).mean(axis=2)
        nearest: npt.NDArray[np.float64] = squares.min(axis=1)
        return nearest


class DriftMonitor:
    """Watches one model in use. Not thread-safe: its owner holds a lock.

    Args:
        rng: Breaks ties between scores of examples.
        options: Thresholds.

    Raises:
        InvalidOptionError: An option is outside its range.
    """

    def __init__(self, *, rng: Uniform, options: DriftOptions = DEFAULT_DRIFT) -> None:
        self._adwin = Adwin(delta=options.adwin_delta)
        self._rise = PageHinkley(delta=options.rise, threshold=options.rise_threshold)
        self._shift = ConformalDetector(rate=options.shift_rate, burn_in=options.burn_in, rng=rng)
        self.reset()

    def reset(self) -> None:
        """Start afresh: the model, or its bundle, is another one now."""
        self._num_feedbacks, self._num_examples = 0, 0
        self._errors_rose_before, self._shifted = False, False
        self._clear_detectors()

    def model_changed(self) -> None:
        """Count afresh: another state of the same bundle answers now. What was noticed stays known.

        Errors and scores of one state say nothing about another one; but errors that rise again
        after a shift and a remedy ask for more than the same remedy.
        """
        self._num_feedbacks, self._num_examples = 0, 0
        self._clear_detectors()

    def feedback(self, correct: bool) -> DriftReport | None:
        """Whether one answer was right; returns a report when errors have become more frequent.

        Raises:
            InvalidOptionError: `correct` is not a bool.
        """
        if type(correct) not in {bool, np.bool_}:
            msg = f"correct must be a bool, got {type(correct).__name__}"
            raise InvalidOptionError(msg)
        error = 0.0 if correct else 1.0
        self._num_feedbacks += 1
        before = self._adwin.mean
        changed = self._adwin.update(error)
        risen = self._rise.update(error)
        error_rate = self._adwin.mean
        if not risen and not (changed and error_rate > before):
            return None
        report = DriftReport(
            signal=DriftSignal.ERRORS_ROSE,
            advice=self._advise(),
            detector="page_hinkley" if risen else "adwin",
            num_events=self._num_feedbacks,
            error_rate=error_rate,
        )
        self._errors_rose_before = True
        self._num_feedbacks = 0
        self._adwin.clear()
        self._rise.clear()
        return report

    def watch(self, features: Float32Array, reference: FeatureReference) -> DriftReport | None:
        """Features of examples in use, float32 `[n, *features.shape]`; no feedback is needed.

        Returns:
            A report when they have come to look different. Examples after it start a new count.

        Raises:
            DtypeMismatchError, ShapeMismatchError, NonFiniteError: `features` is not such an array
                or does not fit the reference.
        """
        shape = tuple(np.shape(features)[1:])
        rows = as_examples(features, shape=shape, name="features").reshape(len(features), -1)
        flat = as_rows(rows, shape=reference.variances.shape, name="features")
        report = None
        for score in reference.scores(flat):
            self._num_examples += 1
            if self._shift.update(float(score)):
                self._shifted = True
                report = DriftReport(
                    signal=DriftSignal.FEATURES_SHIFTED,
                    advice=DriftAdvice.ADAPT_AGAIN,
                    detector="conformal",
                    num_events=self._num_examples,
                    error_rate=None,
                )
                self._num_examples = 0
        return report

    def to_json(self, *, scores: bool = True) -> str:
        """The memory of all detectors, for the next start of the process.

        Args:
            scores: With that of the shift detector, which holds up to 5000 numbers.
        """
        counts = [self._num_feedbacks, self._num_examples]
        flags = [self._errors_rose_before, self._shifted]
        shift = self._shift.snapshot() if scores else None
        detectors = [self._adwin.snapshot(), self._rise.snapshot(), shift]
        return json.dumps(
            {"format": FORMAT, "counts": counts, "flags": flags, "detectors": detectors},
            allow_nan=False,
        )

    def restore(self, text: str) -> None:
        """Take back what `to_json` gave; without scores, the shift detector stays as it is.

        Raises:
            StoreError: It is not that; the monitor then starts afresh.
        """
        try:
            memory = json.loads(text)
            if memory["format"] != FORMAT:
                raise KeyError(FORMAT)  # noqa: TRY301  (one place says what is wrong)
            self._num_feedbacks, self._num_examples = (int(n) for n in memory["counts"])
            self._errors_rose_before, self._shifted = (bool(flag) for flag in memory["flags"])
            adwin, rise, shift = memory["detectors"]
            self._adwin.restore(adwin)
            self._rise.restore(rise)
            if shift is not None:
                self._shift.restore(shift)
        except (ValueError, TypeError, KeyError) as error:
            self.reset()
            msg = "the drift monitor's memory is damaged or of another version; it starts afresh"
            raise StoreError(msg) from error

    def _clear_detectors(self) -> None:
        for detector in (self._adwin, self._rise, self._shift):
            detector.clear()

    def _advise(self) -> DriftAdvice:
        if not self._shifted:
            return DriftAdvice.TEACH_AGAIN
        return DriftAdvice.NEW_BUNDLE if self._errors_rose_before else DriftAdvice.ADAPT_AGAIN
