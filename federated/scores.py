"""How well a group of people is served: the mean over them, and that of the worst-off tenth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Accuracy over people, each counting the same, in 0..1.

    Attributes:
        mean: Of all.
        worst_decile: Of the tenth with the lowest accuracy, at least one person.
        people: How many.
    """

    mean: float
    worst_decile: float
    people: int


def score(by_person: ArrayLike) -> Score:
    """Sum up accuracies `[people]`, at least one."""
    values = np.sort(np.asarray(by_person, np.float64))
    worst = values[: max(1, math.ceil(len(values) / 10))]
    return Score(mean=float(values.mean()), worst_decile=float(worst.mean()), people=len(values))
