"""How figures are written: one place for percent, points, intervals, sizes and times."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.intervals import Mean

MINUS = "\N{MINUS SIGN}"


def percent(value: float) -> str:
    """A share 0..1 as percent: "92.4 %"."""
    return f"{100 * value:.1f} %"


def points(value: float, *, sign: bool = False) -> str:
    """A difference of shares as percentage points: "+7.0 points"."""
    text = f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
    return f"{_minus(text)} points"


def interval(mean: Mean) -> str:
    """The 95 % interval, in percent or points: "[5.4, 8.6]"."""
    return _minus(f"[{100 * mean.low:.1f}, {100 * mean.high:.1f}]")


def number(value: int) -> str:
    """A count with thousands apart: "1,000"."""
    return f"{value:,}"


def plus_minus(mean: Mean) -> str:
    """Mean and half-width in percent: "92.4 ± 0.8"."""
    return _minus(f"{100 * mean.mean:.1f} ± {100 * mean.half_width:.1f}")


def size(num_bytes: int) -> str:
    """Bytes for people: "124 kB" (1 kB is 1,000 bytes)."""
    return f"{num_bytes / 1000:.0f} kB" if num_bytes >= 10_000 else f"{num_bytes / 1000:.1f} kB"


def duration(ms: float) -> str:
    """Milliseconds for people: "0.31 ms" or "84 µs"."""
    return f"{ms:.2f} ms" if ms >= 0.1 else f"{1000 * ms:.0f} µs"


def span(seconds: float) -> str:
    """Seconds for people: "74 s" or "2 min 5 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _minus(text: str) -> str:
    """A number below zero with a true minus; one that rounds to zero without."""
    return text.replace("-0.0", "0.0").replace("-", MINUS)
