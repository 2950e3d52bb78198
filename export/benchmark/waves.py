"""How sure a learner of values is: its variance near what was taught, and away from it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from export.benchmark.markdown import markdown_table
from export.intervals import mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_sdk import Engine
    from export.benchmark.run import Row
    from export.tasks.functions import FunctionPool

Figures = dict[str, Any]
"""JSON values."""

VARIANCE = "variance"
"""What the figure's name begins with."""

TAUGHT_POINTS = (1, 2, 4)
"""Of the panels of the picture."""

WAVES_CAPTION = (
    "A function that training never saw, taught from points on one side: the predicted mean and its"
    " deviation, which grows away from the points and shrinks with more of them."
)

FUNCTIONS = 400
POINTS = 3
QUERIES = 200
EDGES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)
"""Of the distances from the nearest taught point, in tenths of the inputs' range."""

AWAY = 2
"""Spans from this one on are away from what was taught; the first is near it."""


def one_function(pool: FunctionPool, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points on one function of one number, ascending: inputs and values `[400, 1]` each."""
    x, y = pool.draw(1, 400, np.random.default_rng(seed))
    order = np.argsort(x[0, :, 0])
    return x[0][order], y[0][order]


def points_on_one_side(x: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Rows of `count` points, evenly spread over the lower half of the inputs `[n, 1]`."""
    low, high = float(x[0, 0]), float(np.median(x))
    places = low + (high - low) * (np.arange(count) + 0.5) / count
    rows: NDArray[np.int64] = np.abs(x - places).argmin(axis=0).astype(np.int64)
    return rows


def variance_by_distance(engine: Engine, pool: FunctionPool, seed: int) -> Figures:
    """Mean predictive variance and squared error, by distance from the nearest taught point.

    Args:
        engine: A bundle that learns values with a variance.
        pool: Functions of one number; `FUNCTIONS` are drawn, and `POINTS` points of each taught.
        seed: Of the draws.

    Returns:
        By distance: `edges`, and the mean `variance` and `error` between each two. `growth` is how
        much larger the logarithm of a function's mean variance is away from the points than near
        them: mean over functions and 95 % interval.
    """
    rng = np.random.default_rng([seed, 4])
    x, y = pool.draw(FUNCTIONS, POINTS + QUERIES, rng)
    unit = float(x.max() - x.min()) / 10
    bins: NDArray[np.int64] = np.empty((FUNCTIONS, QUERIES), np.int64)
    variance, error = np.empty((FUNCTIONS, QUERIES)), np.empty((FUNCTIONS, QUERIES))
    for i in range(FUNCTIONS):
        taught, asked = x[i, :POINTS], x[i, POINTS:]
        state = engine.adapt(engine.embed(taught), y[i, :POINTS]).state
        found = engine.predict_values(engine.embed(asked), state)
        assert found.variance is not None  # noqa: S101 - the caller asks learners that have one
        variance[i] = found.variance.mean(axis=1)
        error[i] = ((found.mean - y[i, POINTS:]) ** 2).mean(axis=1)
        distance = np.abs(asked[:, None, 0] - taught[None, :, 0]).min(axis=1) / unit
        bins[i] = np.digitize(distance, EDGES[1:-1])
    last = len(EDGES) - 2
    growth = [
        float(np.log(v[b >= AWAY].mean() / v[b == 0].mean()))
        for v, b in zip(variance, bins, strict=True)
        if (b >= AWAY).any() and (b == 0).any()
    ]
    grown = mean_interval(growth)
    return {
        "edges": [edge * unit for edge in EDGES],
        "variance": [float(variance[bins == b].mean()) for b in range(last + 1)],
        "error": [float(error[bins == b].mean()) for b in range(last + 1)],
        "growth": {"mean": grown.mean, "half_width": grown.half_width, "functions": grown.count},
    }


def variance_text(rows: Sequence[Row], seed: int) -> str:
    """The table of RESULTS.md; empty where no learner has a variance."""
    name = f"{VARIANCE} {seed}"
    known = [(row.plan.label, row.figures[name]) for row in rows if name in row.figures]
    if not known:
        return ""
    edges = known[0][1]["edges"]
    spans = [f"{a:.2g} to {b:.2g}" for a, b in itertools.pairwise(edges[:-1])]
    spans.append(f"beyond {edges[-2]:.2g}")
    table = []
    for label, found in known:
        table.append([label, "variance", *(f"{value:.3g}" for value in found["variance"])])
        table.append(["", "squared error", *(f"{value:.3g}" for value in found["error"])])
    growths = "; ".join(
        f"{label}: {np.exp(found['growth']['mean']):.1f} times"
        f" ({np.exp(found['growth']['mean'] - found['growth']['half_width']):.1f} to"
        f" {np.exp(found['growth']['mean'] + found['growth']['half_width']):.1f})"
        for label, found in known
    )
    return (
        "### How sure away from what was taught\n\nMean predictive variance on the device, and the"
        f" squared error that it should foretell, by distance from the nearest of {POINTS} taught"
        f" points; {FUNCTIONS} functions. A periodic function is known again where it repeats"
        f" itself. Variance from {edges[AWAY]:.2g} on over that within {edges[1]:.2g}, a geometric"
        f" mean over functions with its 95 % interval: {growths}.\n\n"
        + markdown_table(["learner", "", *spans], table)
    )
