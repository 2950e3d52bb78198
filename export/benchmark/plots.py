"""Pictures of results, as papers show them: learning curves, accuracy against cost, waves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from edge_sdk import Engine
from export.benchmark.report import curve_cells
from export.benchmark.run import Row, figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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


def plot_waves(rows: Sequence[Row], pool: FunctionPool, seed: int, path: Path) -> dict[str, float]:
    """One function, taught from points on one side only: mean and two standard deviations.

    Args:
        rows: Learners of values; each has a panel.
        pool: Functions of one number.
        seed: Of the function.
        path: The SVG file.

    Returns:
        Label of each learner with a variance, to its mean predictive variance away from what was
        taught, over that among it.
    """
    rng = np.random.default_rng(seed)
    x, y = pool.draw(1, 400, rng)
    order = np.argsort(x[0, :, 0])
    x, y = x[0][order], y[0][order]
    taught = np.flatnonzero(x[:, 0] < np.median(x[:, 0]))[::20]
    near = (x[:, 0] >= x[taught[0], 0]) & (x[:, 0] <= x[taught[-1], 0])
    grown = {}
    with mpl.rc_context(_STYLE):
        figure_, panels = plt.subplots(
            len(rows), 1, figsize=(6.4, 2.4 * len(rows)), sharex=True, squeeze=False
        )
        for row, axes in zip(rows, panels[:, 0], strict=True):
            engine = Engine(row.folder / "int8")
            state = engine.adapt(engine.embed(x[taught]), y[taught]).state
            found = engine.predict_values(engine.embed(x), state)
            line, mean = x[:, 0], found.mean[:, 0]
            axes.plot(line, y[:, 0], color="0.6", linewidth=1, label="the function")
            axes.plot(line, mean, color="C0", linewidth=1.2, label=row.plan.label)
            if found.variance is not None:
                spread = 2 * np.sqrt(found.variance[:, 0])
                axes.fill_between(line, mean - spread, mean + spread, color="C0", alpha=0.2)
                variance = found.variance[:, 0]
                grown[row.plan.label] = float(variance[~near].mean() / variance[near].mean())
            axes.plot(x[taught, 0], y[taught, 0], "k.", markersize=5)
            axes.legend(fontsize=6)
        _save(figure_, path)
    return grown


def _save(figure_: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_.tight_layout()
    figure_.savefig(path, metadata={"Date": None})
    plt.close(figure_)
