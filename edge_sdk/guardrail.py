"""Keep, shadow or revert: is a personal state better than what the user would get without it?

The evidence is what the user taught, cross-validated: each example is answered by states that were
not adapted on it. Two questions are kept apart, because they have different alternatives:

* Examples of **labels that the base knows** (the bundle names them). The base answers these, so the
  personal state must be shown better than the base: paired, example by example. Until it is, the
  base serves and the personal state only runs in the shadow.
* Examples of **labels that only this user has**; with a bundle that names no labels, all of them.
  The base cannot answer these: without the personal state there is no answer at all. So the state
  serves at once, and is taken back when `min_examples` judged examples do not show it better than
  guessing evenly among its labels. (Chance is a floor, not a base; a nearest neighbour would be a
  rival learner, and one that was never shipped.)

Uniformly wrong labels shrink every difference of accuracy and turn the sign of none, so that they
make the guardrail keep less, not more; and the more of them look wrong, the more evidence is asked
for. Labels that are wrong in the same way every time look like a
user's own meaning of a label; only the probe set, which the bundle's maker labelled, notices those.

**Values** are judged in the same way: one is right where it lies nearer to the taught value than
the mean of all others that were taught (`value_answers`), and that is what guessing means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from edge_sdk.arrays import as_examples, as_rows, as_slots
from edge_sdk.cross_validation import Targets, answers_of, held_out_answers
from edge_sdk.errors import (
    DtypeMismatchError,
    EmptySupportError,
    InvalidOptionError,
    ShapeMismatchError,
)
from edge_sdk.guardrail_rule import (
    DEFAULT_GUARDRAIL,
    Decision,
    Evidence,
    GuardrailOptions,
    Reason,
    Serve,
    decide,
    serving_state,
)
from edge_sdk.label_noise import suspect_share
from edge_sdk.manifest import PROBE_NAME
from edge_sdk.paired_tests import GuessComparison, PairedComparison
from edge_sdk.probe_file import parse_probe
from edge_sdk.value_answers import GUESS_RATE

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from edge_sdk._core import State
    from edge_sdk.arrays import Float32Array, Int64Array
    from edge_sdk.engine import Engine
    from edge_sdk.manifest import Manifest
    from edge_sdk.paired_tests import Answers

    Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Examples of the base task that ship with a bundle.

    Attributes:
        features: float32 `[m, *features.shape]`, m >= 1, embedded by the same bundle.
        slots: int64 `[m]`, slots that the base has in use.
    """

    features: Float32Array
    slots: Int64Array

    @classmethod
    def of(cls, engine: Engine) -> Self | None:
        """The bundle's own probe set, of the labels that its starting state has in use."""
        bundle = engine.bundle
        data = bundle.files.get(PROBE_NAME)
        if data is None:
            return None
        features, slots = parse_probe(data, bundle.manifest)
        known = (engine.initial_state()["counts"] > 0)[slots]
        return cls(features[known], slots[known]) if known.any() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailReport:
    """The decision on one candidate state, and the evidence. It holds counts, never data.

    Accuracies are shares in 0..1; None where nothing could be judged.

    Attributes:
        decision: Keep, shadow or revert.
        serve: Which state users get now.
        reason: Why.
        num_examples: Kept examples.
        num_judged: Those among them that a fold could answer. The only example of a label that the
            base does not know cannot be judged: without it the label does not exist.
        num_folds: Folds of the cross-validation.
        support_accuracy: The candidate on the examples that it was adapted on.
        held_out_accuracy: The same on examples held out from adapting.
        gap: Support minus held-out accuracy over the judged examples: high means memorization.
        base_accuracy: The base on the same held-out examples; 0 for labels it does not know.
        against_base: Candidate against base on examples of labels that the base knows.
        against_guessing: The candidate on examples of the user's own labels.
        against_current: Candidate against the current state on all judged examples.
        probe: Candidate against base on the probe set.
        suspect_share: How many of the judged examples' labels look wrong (`label_noise`).
    """

    decision: Decision
    serve: Serve
    reason: Reason
    num_examples: int
    num_judged: int
    num_folds: int
    support_accuracy: float
    held_out_accuracy: float | None
    gap: float | None
    base_accuracy: float | None
    against_base: PairedComparison | None
    against_guessing: GuessComparison | None
    against_current: PairedComparison | None
    probe: PairedComparison | None
    suspect_share: float | None = None


def judge(
    engine: Engine,
    features: Float32Array,
    targets: Int64Array | Float32Array,
    candidate: State,
    *,
    current: Flags | None = None,
    probe: Probe | None = None,
    options: GuardrailOptions = DEFAULT_GUARDRAIL,
    after_fold: Callable[[float], None] | None = None,
) -> GuardrailReport:
    """Decide whether a candidate state may serve.

    Args:
        engine: Adapts the folds and answers; its bundle's starting state is the base.
        features: Of all kept examples in the order taught, float32 `[n, *features.shape]`, n >= 1.
        targets: Their label slots, int64 `[n]`; of a regression their values, float32
            `[n, outputs]`.
        candidate: The base adapted to all of them.
        current: Which of the examples the state that serves now was adapted on, bool `[n]`; None
            where the base serves.
        probe: Examples of the base task.
        options: Thresholds.
        after_fold: Called after each fold with the part done, in (0, 1]; what it raises stops this.

    Raises:
        DtypeMismatchError, ShapeMismatchError, NonFiniteError, LabelRangeError: An array is not as
            above.
        EmptySupportError: There is no example.
        InvalidOptionError: The probe has a slot that the base does not know.
        BadStateError: `candidate` does not belong to the bundle.
    """
    manifest = engine.bundle.manifest
    rows = as_rows(features, shape=manifest.features.shape, name="features")
    if len(rows) == 0:
        msg = "features must hold at least one example"
        raise EmptySupportError(msg)
    labels = _check_targets(targets, manifest, len(rows))
    seen = _check_current(current, len(rows))
    known: Flags = engine.initial_state()["counts"] > 0
    on_support = answers_of(engine, rows, labels, candidate).right
    answers = held_out_answers(
        engine, rows, labels, current=seen, folds=options.folds, after_fold=after_fold
    )
    serving = None if seen is None else engine.adapt(rows[seen], labels.taught[seen]).state
    ask = _Asker(engine, known, labels, answers.judged, probe, options.confidence)
    about_candidate = ask.about(candidate, answers.candidate, answers.base)
    about_current = (
        None
        if serving is None or answers.current is None
        else ask.about(serving, answers.current, answers.base)
    )
    against_current = (
        None
        if answers.current is None
        else _paired(answers.candidate, answers.current, answers.judged, options.confidence)
    )
    decision, reason = decide(about_candidate, against_current, options)
    held_out = _share(answers.candidate.right[answers.judged])
    on_judged = _share(on_support[answers.judged])
    return GuardrailReport(
        decision=decision,
        serve=serving_state(decision, about_current, options),
        reason=reason,
        num_examples=len(rows),
        num_judged=int(answers.judged.sum()),
        num_folds=answers.num_folds,
        support_accuracy=float(on_support.mean()),
        held_out_accuracy=held_out,
        gap=None if held_out is None or on_judged is None else on_judged - held_out,
        base_accuracy=_share(answers.base.right[answers.judged]),
        against_base=about_candidate.against_base,
        against_guessing=about_candidate.against_guessing,
        against_current=against_current,
        probe=about_candidate.probe,
        suspect_share=about_candidate.suspect_share if answers.judged.any() else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Asker:
    """Gathers the evidence about a state: from held-out answers, and from the probe set."""

    engine: Engine
    known: Flags
    targets: Targets
    judged: Flags
    probe: Probe | None
    confidence: float

    def about(self, state: State, held_out: Answers, of_base: Answers) -> Evidence:
        """`held_out` and `of_base` `[n]`: answers of states like this one, and of the base."""
        is_known = self.known[self.targets.slots]
        of_user = held_out.right[self.judged & ~is_known]
        guess_rate = self._guess_rate(state)
        return Evidence(
            against_base=_paired(held_out, of_base, self.judged & is_known, self.confidence),
            against_guessing=GuessComparison.of(of_user, guess_rate=guess_rate)
            if len(of_user) and guess_rate < 1
            else None,
            probe=self._probed(state),
            suspect_share=suspect_share(held_out.of(self.judged)) if self.judged.any() else 0.0,
        )

    def _guess_rate(self, state: State) -> float:
        """Share that a guess gets right; 1: with one label in use there is nothing to guess."""
        if self.targets.yardstick is not None:
            return GUESS_RATE
        return 1 / max(1, int(np.sum(state["counts"] > 0)))

    def _probed(self, state: State) -> PairedComparison | None:
        if self.probe is None:
            return None
        manifest = self.engine.bundle.manifest
        features = as_examples(
            self.probe.features, shape=manifest.features.shape, name="probe.features"
        )
        slots = as_slots(
            self.probe.slots, num_rows=len(features), ways=manifest.ways, name="probe.slots"
        )
        if not self.known[slots].all():
            msg = (
                "probe.slots must be slots that the bundle names and its starting state has in use"
            )
            raise InvalidOptionError(msg)
        by_state, by_base = (
            answers_of(self.engine, features, Targets.of(slots), s)
            for s in (state, self.engine.initial_state())
        )
        return PairedComparison.of(by_state, by_base, confidence=self.confidence)


def _check_targets(
    targets: Int64Array | Float32Array, manifest: Manifest, num_rows: int
) -> Targets:
    if manifest.task != "regression":
        return Targets.of(as_slots(targets, num_rows=num_rows, ways=manifest.ways, name="slots"))
    values = as_rows(targets, shape=(manifest.outputs or 1,), name="values")
    if len(values) != num_rows:
        msg = f"values must have {num_rows} rows, as features, got {len(values)}"
        raise ShapeMismatchError(msg)
    return Targets.of(values)


def _paired(
    first: Answers, second: Answers, which: Flags, confidence: float
) -> PairedComparison | None:
    if not which.any():
        return None
    return PairedComparison.of(first.of(which), second.of(which), confidence=confidence)


def _share(right: Flags) -> float | None:
    return float(right.mean()) if len(right) else None


def _check_current(current: object, num_rows: int) -> Flags | None:
    """None, too, where it names no example: then the base serves."""
    if current is None:
        return None
    if not isinstance(current, np.ndarray) or current.dtype != np.bool_:
        msg = f"current must be a bool array, got {getattr(current, 'dtype', type(current))}"
        raise DtypeMismatchError(msg)
    if current.shape != (num_rows,):
        msg = f"current must have shape [{num_rows}], got {list(current.shape)}"
        raise ShapeMismatchError(msg)
    return current if current.any() else None
