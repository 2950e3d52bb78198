"""Pictures of results, as papers show them: learning curves, accuracy against cost, waves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from edge_sdk import Engine
from export.benchmark.report import curve_cells
from export.benchmark.run import Figures, Row, figure
from export.benchmark.waves import TAUGHT_POINTS, one_function, points_on_one_side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from edge_sdk import ValuePrediction
    from export.benchmark.config import Cell, Suite
    from export.tasks.functions import FunctionPool

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.transforms import Bbox

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "edge-sdk",
    "svg.fonttype": "none",
    "axes.grid": True,
    "font.size": 9,
}
_MARKERS = "osv^D<>"
_LINES = len(_MARKERS)
"""Learning curves of one panel."""
_LEAST_ERROR = 0.05  # %; smaller ones are drawn here
_NEAR = 12
_OFFSETS = [
    (right, up) for up in (-2, 4, -8, 11, -15, 18, -22, 26, -30, 34, -38, 42) for right in (5, -5)
]
"""Where the name of a point may stand, in points from it, nearest first."""
_BLUE = "#2563eb"


def plot_curves(rows: Sequence[Row], suite: Suite, seed: int, path: Path) -> None:
    """Error over shots, with 95 % intervals; a panel for every few learners, the others in grey."""
    cells = curve_cells(suite)
    curves = [_curve(row, suite, cells, seed) for row in rows]
    panels = math.ceil(len(rows) / _LINES)
    columns, lines = min(panels, 2), math.ceil(panels / 2)
    with mpl.rc_context(_STYLE):
        figure_, grid = plt.subplots(
            lines, columns, figsize=(1.2 + 3.2 * columns, 0.6 + 2.6 * lines),
            sharex=True, sharey=True, squeeze=False,
        )  # fmt: skip
        for k, axes in enumerate(grid.flat):
            own = range(k * _LINES, min((k + 1) * _LINES, len(rows)))
            axes.set_visible(len(own) > 0)
            for i, (shots, error, half_width) in enumerate(curves):
                if i not in own:
                    axes.plot(shots, error, color="0.85", linewidth=0.7, zorder=1)
                    continue
                axes.errorbar(
                    shots, error, half_width, label=rows[i].plan.label, zorder=2,
                    marker=_MARKERS[i % _LINES], markersize=4, linewidth=1,
                )  # fmt: skip
            if own:
                axes.legend(fontsize=6)
        first = grid[0, 0]
        first.set_xscale("log")
        first.set_xticks(list(suite.curve), [str(shots) for shots in suite.curve])
        _errors_upwards(first)
        for axes in grid.flat:
            axes.minorticks_off()
        figure_.supxlabel("shots", fontsize=9)
        figure_.supylabel(_error_name(cells[0]), fontsize=9)
        _save(figure_, path)


def plot_cost(rows: Sequence[Row], suite: Suite, seed: int, path: Path) -> None:
    """Error against the time of one adaptation."""
    cell = suite.cells[0]
    with mpl.rc_context(_STYLE):
        figure_, axes = plt.subplots(figsize=(7.2, 4.6))
        places: dict[str, tuple[float, float]] = {}
        for row in rows:
            found = figure(row, suite, "int8", cell, seed)
            if found is not None:
                places[row.plan.label] = (found["adapt_ms"], _error(found))
        axes.plot(*zip(*places.values(), strict=True), "o", color=_BLUE, markersize=4)
        axes.set_xscale("log")
        axes.margins(x=0.12, y=0.08)
        _errors_upwards(axes)
        axes.minorticks_off()
        axes.set_xlabel(f"one adaptation ({cell.name}), ms")
        axes.set_ylabel(_error_name(cell))
        figure_.tight_layout()
        _label_points(axes, places)
        _save(figure_, path)


def _curve(
    row: Row, suite: Suite, cells: Sequence[Cell], seed: int
) -> tuple[list[int], list[float], list[float]]:
    """Shots, errors in % and the half widths of their intervals."""
    found = [(cell.shots, figure(row, suite, "int8", cell, seed)) for cell in cells]
    known = [(shots, f) for shots, f in found if f is not None]
    return (
        [shots for shots, _ in known],
        [_error(f) for _, f in known],
        [100 * f["half_width"] for _, f in known],
    )


def _error(found: Figures) -> float:
    """In %; a logarithmic axis has no place for none."""
    return max(100 - 100 * float(found["accuracy"]), _LEAST_ERROR)


def _errors_upwards(axes: Axes) -> None:
    """Errors on a logarithmic axis, the smaller the higher: what is good lies far apart there."""
    axes.set_yscale("log")
    low, high = sorted(axes.get_ylim())
    axes.set_ylim(high, low)
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= t <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def _error_name(cell: Cell) -> str:
    return "query error, %" if cell.ways > 1 else "variance left unexplained, %"


def _label_points(axes: Axes, places: Mapping[str, tuple[float, float]]) -> None:
    """Name each point where its name covers no point and no other name."""
    points = {name: axes.transData.transform(place) for name, place in places.items()}
    taken = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in points.values()]
    for name in sorted(points, key=lambda name: -points[name][1]):
        text = axes.annotate(name, places[name], (0, 0), "data", "offset points", fontsize=6)
        for dx, dy in _OFFSETS:
            text.set_position((dx, dy))
            text.set_horizontalalignment("left" if dx > 0 else "right")
            if not any(text.get_window_extent().overlaps(other) for other in taken):
                break
        taken.append(text.get_window_extent())
        if abs(dy) > _NEAR:
            line = {"arrowstyle": "-", "linewidth": 0.4, "color": "0.6", "shrinkA": 0, "shrinkB": 3}
            axes.annotate("", places[name], (dx, dy), "data", "offset points", arrowprops=line)


def plot_waves(rows: Sequence[Row], pool: FunctionPool, seed: int, path: Path) -> None:
    """One function, taught from more and more points on one side: mean and two deviations.

    Args:
        rows: Learners of values; each has a row of panels.
        pool: Functions of one number.
        seed: Of the function.
        path: The SVG file.
    """
    x, y = one_function(pool, seed)
    taught = [points_on_one_side(x, count) for count in TAUGHT_POINTS]
    with mpl.rc_context({**_STYLE, "axes.grid": False}):
        figure_, panels = plt.subplots(
            len(rows), len(taught), figsize=(7.2, 0.6 + 2.0 * len(rows)),
            sharex=True, sharey=True, squeeze=False,
        )  # fmt: skip
        for row, line in zip(rows, panels, strict=True):
            engine = Engine(row.folder / "int8")
            for points, axes in zip(taught, line, strict=True):
                state = engine.adapt(engine.embed(x[points]), y[points]).state
                _draw_wave(axes, x, y, points, engine.predict_values(engine.embed(x), state))
            line[0].set_ylabel(row.plan.label)
        for axes, points in zip(panels[0], taught, strict=True):
            noun = "point" if len(points) == 1 else "points"
            axes.set_title(f"{len(points)} {noun} taught", fontsize=9)
        top = float(np.abs(y).max())
        panels[0, 0].set_ylim(-1.9 * top, 1.9 * top)
        panels[0, 0].set_xlim(float(x.min()), float(x.max()))
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure_.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False,
                       fontsize=8, handlelength=1.8, borderaxespad=0.1)  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        figure_.tight_layout(rect=(0, 0.25 / figure_.get_figheight(), 1, 1), w_pad=0.6)
        figure_.savefig(path, metadata={"Date": None})
        plt.close(figure_)


def _draw_wave(axes: Axes, x: Any, y: Any, points: Any, found: ValuePrediction) -> None:
    line, mean = x[:, 0], found.mean[:, 0]
    if found.variance is not None:
        spread = np.sqrt(found.variance[:, 0])
        for times, alpha in ((2, 0.16), (1, 0.2)):
            label = "mean, ±1 and ±2 standard deviations" if times == 1 else None
            axes.fill_between(line, mean - times * spread, mean + times * spread, color=_BLUE,
                              alpha=alpha, linewidth=0, label=label)  # fmt: skip
    axes.plot(line, mean, color=_BLUE, linewidth=1.6, label=None if found.variance is not None
              else "mean")  # fmt: skip
    axes.plot(line, y[:, 0], color="0.25", linewidth=1, linestyle=(0, (4, 2)), label="the function")
    axes.plot(x[points, 0], y[points, 0], "o", color="#d97706", markersize=5,
              markeredgecolor="white", markeredgewidth=0.8, label="taught", zorder=3)  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2.5, labelsize=8)


def _save(figure_: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_.tight_layout()
    figure_.savefig(path, metadata={"Date": None})
    plt.close(figure_)
