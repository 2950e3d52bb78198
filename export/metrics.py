"""Scores of predicted queries: right or wrong, likelihood, how far confidence can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.intervals import mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from export.intervals import Mean

BINS = 15
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True, eq=False)
class QueryScores:
    """Scores of one episode's queries, float64 `[queries]` each.

    Attributes:
        right: 1 where the label is right, else 0; of a regression the squared error.
        confidence: Probability of the predicted label; of a regression empty.
        nll: Negative log-likelihood in nats; None where none is predicted.
        power: Of a regression, mean square of the values; else 1.
    """

    right: NDArray[np.float64]
    confidence: NDArray[np.float64]
    nll: NDArray[np.float64] | None
    power: float = 1.0


def score_labels(
    logits: NDArray[np.float32], labels: NDArray[np.int64] | NDArray[np.float32]
) -> QueryScores:
    """Scores of logits `[queries, ways]` against labels `[queries]`."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    powers = np.exp(wide)
    p = powers / powers.sum(axis=1, keepdims=True)
    slots = labels.astype(np.int64)
    mine = p[np.arange(len(slots)), slots]
    return QueryScores(
        right=(logits.argmax(axis=1) == slots).astype(np.float64),
        confidence=p.max(axis=1),
        nll=-np.log(np.maximum(mine, _SMALLEST)),
    )


def score_values(
    mean: NDArray[np.float32],
    variance: NDArray[np.float32] | None,
    values: NDArray[np.int64] | NDArray[np.float32],
) -> QueryScores:
    """Scores of normal predictions `[queries, outputs]` of values of that shape."""
    want = values.astype(np.float64)
    squares = (mean.astype(np.float64) - want) ** 2
    nll = None
    if variance is not None:
        spread = np.maximum(variance.astype(np.float64), _SMALLEST)
        nll = 0.5 * (squares / spread + np.log(2 * np.pi * spread)).sum(axis=1)
    return QueryScores(squares.mean(axis=1), np.empty(0), nll, float((want**2).mean()))


def mean_nll(scores: Sequence[QueryScores]) -> Mean | None:
    """Mean over episodes, with a 95 % interval; None where no likelihood is predicted."""
    found = [score.nll.mean() for score in scores if score.nll is not None]
    return mean_interval(np.array(found)) if found else None


def calibration_error(scores: Sequence[QueryScores], *, bins: int = BINS) -> float:
    """Expected calibration error: |accuracy - confidence| averaged over bins of equal width.

    Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, eq. 5; over
    all queries of all episodes.
    """
    right = np.concatenate([score.right for score in scores])
    confidence = np.concatenate([score.confidence for score in scores])
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(right))
