"""How well a user would be served by two starting states: what a device says of a candidate bundle.

Each state is adapted on a part of the user's own examples and asked about the rest. Two bounded
integers come out, so that what one user can change in a sum over many is known beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.cross_validation import NO_FOLD, Targets, answers_of, assign_folds
from edge_sdk.errors import DivergedError, InvalidOptionError, NothingTaughtError

if TYPE_CHECKING:
    from edge_sdk._core import State
    from edge_sdk.arrays import Float32Array, Int64Array
    from edge_sdk.engine import Engine

ACCURACY_STEPS = 1 << 10
"""An accuracy is a whole number of so many steps in 0..1."""
MAX_FOLDS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """Share of right answers on examples that were held out, in steps of 1 / `ACCURACY_STEPS`.

    Attributes:
        current: After adapting from the starting state of the bundle in use.
        candidate: After adapting from that of the candidate.
    """

    current: int
    candidate: int

    def __post_init__(self) -> None:
        for name in ("current", "candidate"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= ACCURACY_STEPS:
                msg = f"{name} must be an integer in 0..{ACCURACY_STEPS}"
                raise InvalidOptionError(msg)


def judge(
    engine: Engine,
    current: State,
    candidate: State,
    features: Float32Array,
    taught: Int64Array | Float32Array,
    *,
    steps: int | None = None,
    folds: int = 5,
) -> Judgement:
    """Compare two starting states on one user's examples, by cross-validation.

    Both see the same examples and are asked about the same ones: those of one fold, after adapting
    on all others. An example of the bundle's own labels may be the only one of its label; of a
    user's own label, the only example can be asked of nobody.

    Args:
        engine: The bundle's graphs, loaded; both states fit it.
        current: Where users start today.
        candidate: Where they would start.
        features: The user's examples, float32 `[n, *features.shape]`.
        taught: Their label slots, int64 `[n]`; or values, float32 `[n, outputs]`, which are right
            within the guardrail's yardstick.
        steps: Inner steps, the bundle's own number by default.
        folds: Parts that the examples are split into, 2 to 100.

    Raises:
        NothingTaughtError: No example can be held out.
        InvalidOptionError: `folds` is out of range.
    """
    if not 2 <= folds <= MAX_FOLDS:
        msg = f"folds must be in 2..{MAX_FOLDS}, got {folds}"
        raise InvalidOptionError(msg)
    if not len(taught):
        msg = "there is nothing to judge on; call teach()"
        raise NothingTaughtError(msg)
    targets = Targets.of(taught)
    fold_of = assign_folds(features, targets.slots, current["counts"] > 0, folds=folds)
    judged = fold_of != NO_FOLD
    if not judged.any():
        msg = "no example can be held out; teach a second one of some label"
        raise NothingTaughtError(msg)
    accuracies = [
        float(np.mean(_right(engine, start, features, targets, fold_of, steps)[judged]))
        for start in (current, candidate)
    ]
    first, second = (round(ACCURACY_STEPS * accuracy) for accuracy in accuracies)
    return Judgement(current=first, candidate=second)


def _right(
    engine: Engine,
    start: State,
    features: Float32Array,
    targets: Targets,
    fold_of: Int64Array,
    steps: int | None,
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """What is right after adapting on the other folds, bool `[n]`; nothing where that diverges."""
    right = np.zeros(len(fold_of), bool)
    for fold in range(int(fold_of.max()) + 1):
        asked = fold_of == fold
        seen = ~asked
        try:
            state = (
                engine.adapt(features[seen], targets.taught[seen], steps=steps, start=start).state
                if seen.any()
                else start
            )
        except DivergedError:
            continue
        right[asked] = answers_of(engine, features[asked], targets.rows(asked), state).right
    return right
