"""The guardrail's rule: from the evidence about states to keep, shadow or revert."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError
from edge_sdk.options import check_count

if TYPE_CHECKING:
    from edge_sdk.paired_tests import GuessComparison, PairedComparison

MAX_FOLDS = 1000
MAX_EXAMPLES = 1_000_000


class Decision(StrEnum):
    """What to do with a candidate state."""

    KEEP = "keep"  # it becomes the current state
    SHADOW = "shadow"  # not shown good enough yet: what serves now goes on serving
    REVERT = "revert"  # shown harmful: drop it


class Serve(StrEnum):
    """Which state users get."""

    CANDIDATE = "candidate"
    CURRENT = "current"
    BASE = "base"


class Reason(StrEnum):
    """Why; the first that applies, in this order."""

    FORGETS_BASE_TASK = "forgets_base_task"  # revert: the probe set shows it
    WORSE_THAN_BASE = "worse_than_base"  # revert
    WORSE_THAN_GUESSING = "worse_than_guessing"  # revert
    NOT_SHOWN_BETTER_THAN_BASE = "not_shown_better_than_base"  # shadow
    NOT_SHOWN_BETTER_THAN_GUESSING = "not_shown_better_than_guessing"  # shadow
    WORSE_THAN_CURRENT = "worse_than_current"  # shadow
    BETTER_THAN_BASE = "better_than_base"  # keep
    BETTER_THAN_GUESSING = "better_than_guessing"  # keep
    NO_ALTERNATIVE = "no_alternative"  # keep: too few examples to judge, and the base cannot answer


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardrailOptions:
    """When a personal state is kept.

    Attributes:
        confidence: Of each "shown better" and "shown worse", above 0.5 and below 1. At 0.85 three
            examples that the state alone gets right, with none the other way, are enough; one or
            two are where it is also surer of what the base gets right, too.
        label_doubt: How much more evidence doubtful labels need, at least 0. The chance of a wrong
            "better than the base" is `1 - confidence`, times the share of examples that are not
            suspect to this power; 0 asks of all the same.
        folds: Parts that the examples are cut into, at least 2.
        min_examples: Judged examples of the user's own labels from which on the state must be
            shown better than guessing, at least 1.
        probe_tolerance: Accuracy that the state may lose on the probe set, 0..1.
    """

    confidence: float = 0.85
    label_doubt: float = 4.0
    folds: int = 10
    min_examples: int = 20
    probe_tolerance: float = 0.2

    def __post_init__(self) -> None:
        if not (_is_number(self.confidence) and 0.5 < self.confidence < 1):
            msg = f"confidence must be above 0.5 and below 1, got {self.confidence!r}"
            raise InvalidOptionError(msg)
        if not (_is_number(self.label_doubt) and 0 <= self.label_doubt < math.inf):
            msg = f"label_doubt must be finite and at least 0, got {self.label_doubt!r}"
            raise InvalidOptionError(msg)
        if not (_is_number(self.probe_tolerance) and 0 <= self.probe_tolerance <= 1):
            msg = f"probe_tolerance must be in 0..1, got {self.probe_tolerance!r}"
            raise InvalidOptionError(msg)
        check_count(self.min_examples, name="min_examples", largest=MAX_EXAMPLES)
        if check_count(self.folds, name="folds", largest=MAX_FOLDS) == 1:
            msg = "folds must be at least 2, got 1"
            raise InvalidOptionError(msg)


DEFAULT_GUARDRAIL = GuardrailOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about one state; None where no example says anything.

    `suspect_share`, 0..1, is how many of the labels it was judged by look wrong.
    """

    against_base: PairedComparison | None
    against_guessing: GuessComparison | None
    probe: PairedComparison | None
    suspect_share: float = 0.0


def decide(
    candidate: Evidence, against_current: PairedComparison | None, options: GuardrailOptions
) -> tuple[Decision, Reason]:
    """The rule: first what speaks against a state, then what is lacking, then what speaks for it.

    "Shown" means with a probability of at most `1 - confidence` of being chance; less where labels
    are doubtful, for what speaks for the state instead of the base.
    """
    chance = 1 - options.confidence
    undoubted = (1 - candidate.suspect_share) ** options.label_doubt
    base, own, probe = candidate.against_base, candidate.against_guessing, candidate.probe
    enough = own is not None and own.num >= options.min_examples
    rules = (
        (forgets(probe, options), Decision.REVERT, Reason.FORGETS_BASE_TASK),
        (base and base.shown_worse(chance), Decision.REVERT, Reason.WORSE_THAN_BASE),
        (
            enough and own and own.p_worse <= chance,
            Decision.REVERT,
            Reason.WORSE_THAN_GUESSING,
        ),
        (
            base and not base.shown_better(chance * undoubted),
            Decision.SHADOW,
            Reason.NOT_SHOWN_BETTER_THAN_BASE,
        ),
        (
            enough and own and own.p_better > chance,
            Decision.SHADOW,
            Reason.NOT_SHOWN_BETTER_THAN_GUESSING,
        ),
        (
            against_current and against_current.shown_worse(chance),
            Decision.SHADOW,
            Reason.WORSE_THAN_CURRENT,
        ),
        (base, Decision.KEEP, Reason.BETTER_THAN_BASE),
        (own and own.p_better <= chance, Decision.KEEP, Reason.BETTER_THAN_GUESSING),
    )
    for applies, decision, reason in rules:
        if applies:
            return decision, reason
    return Decision.KEEP, Reason.NO_ALTERNATIVE


def serving_state(decision: Decision, current: Evidence | None, options: GuardrailOptions) -> Serve:
    """The candidate if it is kept; else the current state while it holds its own; else the base.

    A state that serves already has been shown better once, so it stays until the examples are for
    the other side: that takes no proof, as the base is the safe answer.
    """
    if decision is Decision.KEEP:
        return Serve.CANDIDATE
    if current is None or forgets(current.probe, options):
        return Serve.BASE
    base, own = current.against_base, current.against_guessing
    if base is not None and base.difference < 0:
        return Serve.BASE
    enough = own is not None and own.num >= options.min_examples
    if enough and own is not None and own.right <= own.guess_rate * own.num:
        return Serve.BASE
    return Serve.CURRENT


def forgets(probe: PairedComparison | None, options: GuardrailOptions) -> bool:
    """Whether the probe set shows that a state lost more of the base task than is tolerated."""
    return (
        probe is not None
        and probe.shown_worse(1 - options.confidence)
        and probe.difference < -options.probe_tolerance
    )
