"""Pictures of results, as papers show them: learning curves, accuracy against cost, waves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from edge_sdk import Engine
from export.benchmark.report import curve_cells
from export.benchmark.run import Row, figure
from export.benchmark.waves import TAUGHT_POINTS, one_function, points_on_one_side

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from edge_sdk import ValuePrediction
    from export.benchmark.config import Suite
    from export.tasks.functions import FunctionPool

mpl.use("svg")
from matplotlib import pyplot as plt

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "edge-sdk",
    "svg.fonttype": "none",
    "axes.grid": True,
    "font.size": 9,
}
_MARKERS = "osv^D<>pXP*h"
_BLUE = "#2563eb"


def plot_curves(rows: Sequence[Row], suite: Suite, seed: int, path: Path) -> None:
    """Accuracy over shots, with 95 % intervals."""
    cells = curve_cells(suite)
    with mpl.rc_context(_STYLE):
        figure_, axes = plt.subplots(figsize=(6.4, 4.4))
        for i, row in enumerate(rows):
            found = [figure(row, suite, "int8", cell, seed) for cell in cells]
            known = [(c.shots, f) for c, f in zip(cells, found, strict=True) if f is not None]
            axes.errorbar(
                [shots for shots, _ in known],
                [100 * f["accuracy"] for _, f in known],
                [100 * f["half_width"] for _, f in known],
                label=row.plan.label,
                marker=_MARKERS[i % len(_MARKERS)],
                markersize=4,
                linewidth=1,
            )
        axes.set_xscale("log")
        axes.set_xticks(list(suite.curve), [str(shots) for shots in suite.curve])
        axes.minorticks_off()
        axes.set_xlabel("shots")
        axes.set_ylabel("query accuracy, %")
        axes.legend(fontsize=6, ncols=2)
        _save(figure_, path)


def plot_cost(rows: Sequence[Row], suite: Suite, seed: int, path: Path) -> None:
    """Accuracy against the time of one adaptation."""
    cell = suite.cells[0]
    with mpl.rc_context(_STYLE):
        figure_, axes = plt.subplots(figsize=(6.4, 4.4))
        for i, row in enumerate(rows):
            found = figure(row, suite, "int8", cell, seed)
            if found is None:
                continue
            place = (found["adapt_ms"], 100 * found["accuracy"])
            axes.plot(*place, marker=_MARKERS[i % len(_MARKERS)], color="C0")
            axes.annotate(row.plan.label, place, xytext=(4, 3), textcoords="offset points",
                          fontsize=6)  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel(f"one adaptation ({cell.name}), ms")
        axes.set_ylabel("query accuracy, %")
        _save(figure_, path)


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
