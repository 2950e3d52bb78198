"""Detectors of a change in a stream of numbers: ADWIN, Page-Hinkley, and a conformal e-detector.

All are sequential, and O(log n) in time a number. Each `update` says whether a change is noticed
now. `snapshot` gives a detector's memory as JSON values, and `restore` takes it back.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edge_sdk.errors import InvalidOptionError, NonFiniteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Snapshot = list[Any]

MAX_CONFORMAL_SCORES = 5000


class Uniform(Protocol):
    """What breaks ties: a `numpy.random.Generator`, or less."""

    def uniform(self) -> float:
        """Draw from [0, 1)."""


@dataclass(slots=True)
class _Bucket:
    """A run of consecutive numbers: how many, their sum, and their squared deviations."""

    size: int
    total: float
    deviations: float

    def joined(self, newer: _Bucket) -> _Bucket:
        size = self.size + newer.size
        apart = self.total / self.size - newer.total / newer.size
        between = self.size * newer.size * apart * apart / size
        return _Bucket(size, self.total + newer.total, self.deviations + newer.deviations + between)


class Adwin:
    """A window that shrinks to what has come since the mean changed.

    Bifet & Gavalda, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007: ADWIN2,
    which keeps the window as an exponential histogram and compares its older and newer part at
    every border between buckets.

    Args:
        delta: Bound on false alarms, above 0 and below 1; smaller is slower and surer.
        clock: Numbers between two looks, at least 1.
        max_buckets: Buckets of one size before the two oldest are joined, at least 2.
        min_part: Fewest numbers in each part that is compared, at least 1.
        grace: Numbers before the first look.
    """

    def __init__(
        self,
        *,
        delta: float = 0.002,
        clock: int = 1,
        max_buckets: int = 5,
        min_part: int = 5,
        grace: int = 10,
    ) -> None:
        _check(0 < delta < 1, "delta must be above 0 and below 1")
        _check(clock >= 1 and min_part >= 1 and grace >= 0, "clock and min_part must be >= 1")
        _check(max_buckets >= 2, "max_buckets must be >= 2")
        self._delta, self._clock, self._max_buckets = delta, clock, max_buckets
        self._min_part, self._grace = min_part, grace
        self._ticks = 0
        self._rows: list[list[_Bucket]] = [[]]  # row i: buckets of 2^i numbers, oldest first

    @property
    def width(self) -> int:
        """Numbers in the window."""
        return sum(bucket.size for bucket in self._oldest_first())

    @property
    def mean(self) -> float:
        """Their mean; 0 for none."""
        width = self.width
        return sum(bucket.total for bucket in self._oldest_first()) / width if width else 0.0

    def update(self, value: float) -> bool:
        """Take the next number; returns whether its window shrank."""
        _check_finite(value)
        self._insert(_Bucket(1, float(value), 0.0))
        self._ticks += 1
        if self._ticks % self._clock:
            return False
        shrunk = False
        while self.width > self._grace and self._differs():
            self._drop_oldest()
            shrunk = True
        return shrunk

    def clear(self) -> None:
        """Forget all numbers."""
        self._ticks, self._rows = 0, [[]]

    def snapshot(self) -> Snapshot:
        """The memory, as JSON values."""
        rows = [[[b.total, b.deviations] for b in row] for row in self._rows]
        return [self._ticks, rows]

    def restore(self, memory: Snapshot) -> None:
        """Take a memory back; raises ValueError or TypeError where it is none."""
        ticks, rows = memory
        restored = [
            [_Bucket(2**level, _finite(total), _finite(deviations)) for total, deviations in row]
            for level, row in enumerate(rows)
        ]
        self._ticks, self._rows = int(ticks), restored or [[]]

    def _insert(self, bucket: _Bucket) -> None:
        self._rows[0].append(bucket)
        for level, row in enumerate(self._rows):
            if len(row) <= self._max_buckets:
                return
            if level + 1 == len(self._rows):
                self._rows.append([])
            older, newer = row.pop(0), row.pop(0)
            self._rows[level + 1].append(older.joined(newer))

    def _differs(self) -> bool:
        """Whether the means of the parts before and after some border are too far apart."""
        buckets = list(self._oldest_first())
        whole = buckets[0]
        for bucket in buckets[1:]:
            whole = whole.joined(bucket)
        log_term = math.log(2 * math.log(whole.size) / self._delta)
        variance = whole.deviations / whole.size
        old_size, old_total = 0, 0.0
        for bucket in buckets[:-1]:
            old_size += bucket.size
            old_total += bucket.total
            new_size = whole.size - old_size
            if old_size < self._min_part or new_size < self._min_part:
                continue
            apart = abs(old_total / old_size - (whole.total - old_total) / new_size)
            inverse = 1 / (old_size - self._min_part + 1) + 1 / (new_size - self._min_part + 1)
            if apart > math.sqrt(2 * inverse * variance * log_term) + 2 / 3 * inverse * log_term:
                return True
        return False

    def _drop_oldest(self) -> None:
        row = next(row for row in reversed(self._rows) if row)
        row.pop(0)

    def _oldest_first(self) -> Iterator[_Bucket]:
        for row in reversed(self._rows):
            yield from row


class PageHinkley:
    """Notices that a mean has risen: Page, "Continuous Inspection Schemes", Biometrika 1954.

    Sums how far each number lies above the mean so far plus `delta`, and compares the sum with its
    least value.

    Args:
        delta: Rise that is let pass, >= 0; half of the rise to be noticed is a good choice.
        threshold: Sum at which the alarm is given, above 0.
        min_numbers: Numbers before the first alarm, at least 1.
        forgetting: Weight of the old sum, above 0 up to 1.
    """

    def __init__(
        self,
        *,
        delta: float = 0.1,
        threshold: float = 11.0,
        min_numbers: int = 30,
        forgetting: float = 1.0,
    ) -> None:
        _check(delta >= 0, "delta must be >= 0")
        _check(threshold > 0, "threshold must be > 0")
        _check(min_numbers >= 1, "min_numbers must be >= 1")
        _check(0 < forgetting <= 1, "forgetting must be above 0 and at most 1")
        self._delta, self._threshold = delta, threshold
        self._min_numbers, self._forgetting = min_numbers, forgetting
        self._num, self._mean, self._sum, self._least = 0, 0.0, 0.0, 0.0

    def update(self, value: float) -> bool:
        """Take the next number; returns whether the mean has risen, and then starts afresh."""
        _check_finite(value)
        self._num += 1
        self._mean += (value - self._mean) / self._num
        self._sum = self._forgetting * self._sum + value - self._mean - self._delta
        self._least = self._sum if self._num == 1 else min(self._least, self._sum)
        if self._num < self._min_numbers or self._sum - self._least <= self._threshold:
            return False
        self.clear()
        return True

    def clear(self) -> None:
        """Forget all numbers."""
        self._num, self._mean, self._sum, self._least = 0, 0.0, 0.0, 0.0

    def snapshot(self) -> Snapshot:
        """The memory, as JSON values."""
        return [self._num, self._mean, self._sum, self._least]

    def restore(self, memory: Snapshot) -> None:
        """Take a memory back; raises ValueError or TypeError where it is none."""
        num, *rest = memory
        mean, total, least = (_finite(value) for value in rest)
        self._num, self._mean, self._sum, self._least = int(num), mean, total, least


class ConformalDetector:
    """Notices that scores stop looking like those before, with a proven rate of false alarms.

    While scores are exchangeable (each order equally likely; any distribution), their online
    conformal p-values are independent and uniform (Vovk, Gammerman & Shafer, "Algorithmic
    Learning in a Random World", 2005). A bet against uniformity multiplies to an e-process, and
    its Shiryaev-Roberts sum, stopped at `1 / rate`, has a mean time between false alarms of at
    least `1 / rate` (Shin, Ramdas & Rinaldo, "E-detectors", 2023).

    Args:
        rate: False alarms a score, above 0 and below 1.
        burn_in: Scores that are only learned from, at least 1.
        rng: Breaks ties of scores.
    """

    # Bets k p^(k-1) on small p-values (scores higher than before) and on large ones (lower).
    _POWERS = np.array([0.1, 0.2, 0.4, 0.6, 0.8])

    def __init__(self, *, rate: float, burn_in: int, rng: Uniform) -> None:
        _check(0 < rate < 1, "rate must be above 0 and below 1")
        _check(burn_in >= 1, "burn_in must be >= 1")
        self._rate, self._burn_in, self._rng = rate, burn_in, rng
        self._scores: list[float] = []
        self._sums = np.zeros(2 * len(self._POWERS))

    @property
    def num_scores(self) -> int:
        """Scores since the start or the last alarm."""
        return len(self._scores)

    def update(self, score: float) -> bool:
        """Take the next score; returns whether they have changed, and then starts afresh."""
        _check_finite(score)
        if len(self._scores) >= MAX_CONFORMAL_SCORES:
            self.clear()
        place = bisect.bisect_left(self._scores, score)
        after = bisect.bisect_right(self._scores, score)
        bisect.insort(self._scores, score)
        num = len(self._scores)
        if num <= self._burn_in:
            return False
        higher, equal = num - 1 - after, after - place + 1
        p = (higher + self._rng.uniform() * equal) / num
        p = min(max(p, 1e-12), 1 - 1e-12)
        bets = np.concatenate([self._POWERS * q ** (self._POWERS - 1) for q in (p, 1 - p)])
        self._sums = (self._sums + 1) * bets
        if float(self._sums.mean()) < 1 / self._rate:
            return False
        self.clear()
        return True

    def clear(self) -> None:
        """Forget all scores."""
        self._scores = []
        self._sums = np.zeros(2 * len(self._POWERS))

    def snapshot(self) -> Snapshot:
        """The memory, as JSON values."""
        return [list(self._scores), self._sums.tolist()]

    def restore(self, memory: Snapshot) -> None:
        """Take a memory back; raises ValueError or TypeError where it is none."""
        scores, sums = ([_finite(value) for value in values] for values in memory)
        if len(sums) != len(self._sums) or len(scores) > MAX_CONFORMAL_SCORES:
            msg = "not the memory of this detector"
            raise ValueError(msg)
        self._scores, self._sums = sorted(scores), np.array(sums)


def _check(fine: bool, message: str) -> None:
    if not fine:
        raise InvalidOptionError(message)


def _check_finite(value: float) -> None:
    if not math.isfinite(value):
        msg = "a number of a stream must be finite"
        raise NonFiniteError(msg)


def _finite(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        msg = "a number of a detector's memory must be finite"
        raise ValueError(msg)
    return number
