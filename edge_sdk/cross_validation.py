"""What states that did not see an example answer for it: the folds of a cross-validation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from edge_sdk.errors import DivergedError
from edge_sdk.paired_tests import Answers
from edge_sdk.value_answers import Yardstick

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from edge_sdk._core import State
    from edge_sdk.arrays import Float32Array, Int64Array
    from edge_sdk.engine import Engine

    Flags = npt.NDArray[np.bool_]

NO_FOLD = -1


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What examples teach: labels, or values.

    Attributes:
        taught: As `Engine.adapt` takes it: int64 `[n]`, or float32 `[n, outputs]`.
        slots: Label slots, int64 `[n]`; 0 of values.
        yardstick: Of values; None of labels.
    """

    taught: Int64Array | Float32Array
    slots: Int64Array
    yardstick: Yardstick | None

    @classmethod
    def of(cls, taught: Int64Array | Float32Array) -> Self:
        """Slots `[n]`, or values `[n, outputs]` (n >= 1), that have been checked."""
        if taught.ndim == 1:
            return cls(taught, taught.astype(np.int64, copy=False), None)
        values = taught.astype(np.float32, copy=False)
        return cls(values, np.zeros(len(values), np.int64), Yardstick.of(values))

    def rows(self, which: Flags) -> Targets:
        """Those of the examples `which`, bool `[n]`; values keep their yardstick."""
        yardstick = None if self.yardstick is None else self.yardstick.rows(which)
        return Targets(self.taught[which], self.slots[which], yardstick)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutAnswers:
    """What states answered for examples that they were not adapted on; `[n]` each.

    Attributes:
        judged: Whether an example was held out at all, bool; the others are not answered below.
        candidate: By a state adapted on the other folds.
        current: By one adapted on what the current state saw of the other folds; None without one.
        base: By the bundle's starting state.
        num_folds: How many folds there were.
    """

    judged: Flags
    candidate: Answers
    current: Answers | None
    base: Answers
    num_folds: int


def held_out_answers(
    engine: Engine,
    features: Float32Array,
    targets: Targets,
    *,
    current: Flags | None,
    folds: int,
    after_fold: Callable[[float], None] | None = None,
) -> HeldOutAnswers:
    """Cross-validate over examples `[n, *features.shape]` with their targets, n >= 1.

    A fold whose adaptation diverges has answered nothing right. `after_fold` is called with the
    part done, in (0, 1], and may stop this by raising.
    """
    base = engine.initial_state()
    slots = targets.slots
    fold_of = assign_folds(features, slots, base["counts"] > 0, folds=folds)
    num_folds = int(fold_of.max()) + 1
    candidate, by_current = _no_answers(len(slots)), _no_answers(len(slots))
    for fold in range(num_folds):
        inside = fold_of == fold
        _fill(candidate, engine, features, targets, seen=~inside, asked=inside)
        if current is not None:
            _fill(by_current, engine, features, targets, seen=current & ~inside, asked=inside)
        if after_fold is not None:
            after_fold((fold + 1) / num_folds)
    return HeldOutAnswers(
        judged=fold_of != NO_FOLD,
        candidate=candidate,
        current=None if current is None else by_current,
        base=answers_of(engine, features, targets, base),
        num_folds=num_folds,
    )


def assign_folds(
    features: Float32Array, slots: Int64Array, known: Flags, *, folds: int
) -> Int64Array:
    """The fold of each example, int64 `[n]`; -1 for one that cannot be judged.

    A label's examples, in the order given, go to the folds 0, 1, ... in turn. So each fold leaves
    about as many of each label to adapt on: where one label alone lost an example, the state would
    be worse at just the label that it is asked for. Examples with the same features share a fold,
    so that a copy cannot vouch for its original. The only example of a label that the base does
    not know (`known` `[ways]` is False) is in no fold: without it there is no such label.
    """
    contents = [row.tobytes() for row in features + np.float32(0)]  # -0.0 becomes 0.0
    pairs = list(zip(slots.tolist(), contents, strict=True))
    num_distinct = Counter(slot for slot, _ in set(pairs))
    fold_of_content: dict[bytes, int] = {}
    placed: Counter[int] = Counter()
    found = np.full(len(slots), NO_FOLD, dtype=np.int64)
    for row, (slot, content) in enumerate(pairs):
        if not known[slot] and num_distinct[slot] == 1:
            continue
        if content not in fold_of_content:
            fold_of_content[content] = placed[slot] % folds
            placed[slot] += 1
        found[row] = fold_of_content[content]
    return found


def answers_of(engine: Engine, features: Float32Array, targets: Targets, state: State) -> Answers:
    """What a state answers for n >= 1 examples; nothing right where it has no slot in use."""
    slots = targets.slots
    if not np.any(state["counts"] > 0):
        return _no_answers(len(slots))
    if targets.yardstick is not None:
        return targets.yardstick.answers(engine.predict_values(features, state).mean)
    logits = engine.predict(features, state).logits.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    sums = powers.sum(axis=1)
    return Answers(
        right=logits.argmax(axis=1) == slots,
        probability=powers[np.arange(len(slots)), slots] / sums,
        largest=1 / sums,
    )


def _no_answers(num: int) -> Answers:
    return Answers(np.zeros(num, dtype=bool), np.zeros(num), np.zeros(num))


def _fill(
    answers: Answers,
    engine: Engine,
    features: Float32Array,
    targets: Targets,
    *,
    seen: Flags,
    asked: Flags,
) -> None:
    """Set the answers to the `asked` examples: those of a state adapted on the `seen` ones."""
    try:
        state = (
            engine.adapt(features[seen], targets.taught[seen]).state
            if seen.any()
            else engine.initial_state()
        )
    except DivergedError:
        return
    found = answers_of(engine, features[asked], targets.rows(asked), state)
    answers.right[asked] = found.right
    answers.probability[asked], answers.largest[asked] = found.probability, found.largest
