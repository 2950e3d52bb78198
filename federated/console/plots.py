"""The figures of a run's page: what goes where on which axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, MaxNLocator

from federated.console import wording
from federated.demo.svg import ACCENT, MUTED, SECOND, draw_svg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from federated.run_log.records import RoundEntry, RunRecord

_WIDTH, _HEIGHT = 380, 250
_MOST_BARS = 80
_MARKED = 40
"""Up to so many points a curve shows each of them."""
_PERCENT = FuncFormatter(lambda value, _: f"{value:.0f} %")
_LABEL_GAP = 0.11
"""Least distance of two labels at the ends of curves, in parts of the axis."""


def accuracy(run: RunRecord, name: str) -> str:
    """Mean accuracy and that of the worst-off tenth, over the rounds they were measured in."""
    found = run.scores(name)
    rounds = [number + 1 for number in found]
    mean = [100 * entry.mean for entry in found.values()]
    worst = [100 * entry.worst_decile for entry in found.values()]

    def paint(axes: Axes) -> None:
        _curve(axes, rounds, mean, ACCENT, "-")
        _curve(axes, rounds, worst, SECOND, "--")
        axes.set_ylim(0, 100)
        axes.yaxis.set_major_formatter(_PERCENT)
        _ends(axes, [("mean", mean, ACCENT, "%"), ("worst tenth", worst, SECOND, "%")], rounds)
        _round_axis(axes)

    return _draw(paint, f"accuracy-{name}", f"Accuracy of {wording.measured(name)} by round")


def epsilon(run: RunRecord) -> str:
    """Epsilon spent so far, under the budget."""
    spent = [(e.server_round + 1, e.epsilon) for e in run.rounds if e.epsilon is not None]
    budget = run.about.budget_epsilon

    def paint(axes: Axes) -> None:
        rounds, values = [r for r, _ in spent], [v for _, v in spent]
        _curve(axes, rounds, values, ACCENT, "-")
        if budget is not None:
            axes.axhline(budget, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
            axes.annotate(
                f"budget {budget:g}",
                (0.01, budget),
                xycoords=("axes fraction", "data"),
                xytext=(0, 5),
                textcoords="offset points",
                color=MUTED,
            )
            axes.set_ylim(0, 1.15 * max([budget, *values]))
        _ends(axes, [("spent", values, ACCENT, "")], rounds)
        _round_axis(axes)

    return _draw(paint, "epsilon", "Epsilon spent by round, and the budget")


def participation(run: RunRecord) -> str:
    """What became of the devices that were asked: used, lost, not used; as stacked bars."""
    groups = _groups(run.rounds)
    parts: tuple[tuple[str, str, Callable[[RoundEntry], int]], ...] = (
        ("used", ACCENT, lambda e: e.num_accepted),
        ("no reply", MUTED, lambda e: sum(e.dropped.values())),
        ("refused or failed", SECOND, _wrong),
    )

    def paint(axes: Axes) -> None:
        bottom = [0.0] * len(groups)
        middle = [sum(e.server_round + 1 for e in group) / len(group) for group in groups]
        width = 0.82 * len(groups[0]) if groups else 1
        for name, colour, count in parts:
            heights = [sum(count(e) for e in group) / len(group) for group in groups]
            if not any(heights):
                continue
            axes.bar(
                middle, heights, width, bottom=bottom, color=colour, label=name, linewidth=0,
                alpha=0.45 if colour == MUTED else 1,
            )  # fmt: skip
            bottom = [low + high for low, high in zip(bottom, heights, strict=True)]
        axes.set_ylim(0, 1.05 * max([1.0, *bottom]))
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0,
            handlelength=0.9, columnspacing=1.2,
        )  # fmt: skip
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        _round_axis(axes)

    return _draw(paint, "participation", "Devices by round: used, without reply, refused or failed")


def traffic_varies(run: RunRecord) -> bool:
    """Whether a plot of the bytes of one device says more than two numbers."""
    down, up = _of_one_device(run)
    return any(len({value for _, value in points}) > 1 for points in (down, up))


def traffic(run: RunRecord) -> str:
    """Bytes of one device by round, both ways."""
    down, up = _of_one_device(run)
    last = [max(r for r, _ in down + up)]

    def paint(axes: Axes) -> None:
        for points, colour, dashes in ((down, ACCENT, "-"), (up, SECOND, "--")):
            _curve(axes, [r for r, _ in points], [v for _, v in points], colour, dashes)
        axes.set_ylim(0, 1.15 * max([0.001, *(v for _, v in down + up)]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} kB"))
        _ends(
            axes,
            [
                ("down", [v for _, v in down], ACCENT, "kB"),
                ("up", [v for _, v in up], SECOND, "kB"),
            ],
            last,
        )
        _round_axis(axes)

    return _draw(paint, "traffic", "Kilobytes of one device by round, down and up")


def _of_one_device(run: RunRecord) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Round and kilobytes, down and up."""
    measured = [(e.server_round + 1, t) for e in run.rounds if (t := e.traffic) is not None]
    down = [(r, t.bytes_down / t.devices_down / 1000) for r, t in measured if t.devices_down]
    up = [(r, t.bytes_up / t.devices_up / 1000) for r, t in measured if t.devices_up]
    return down, up


def _wrong(entry: RoundEntry) -> int:
    return sum(entry.refused.values()) + sum(entry.failed.values())


def _groups(rounds: Sequence[RoundEntry]) -> list[Sequence[RoundEntry]]:
    """Neighbouring rounds together, so that a long run is not thousands of bars."""
    size = -(-len(rounds) // _MOST_BARS) or 1
    return [rounds[first : first + size] for first in range(0, len(rounds), size)]


def _curve(axes: Axes, x: Sequence[float], y: Sequence[float], colour: str, dashes: str) -> None:
    marker = "o" if len(x) <= _MARKED else ""
    axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.8, marker=marker, markersize=3.5)


def _ends(
    axes: Axes, curves: Sequence[tuple[str, Sequence[float], str, str]], x: Sequence[float]
) -> None:
    """Name curves at their right ends, pushed apart where they come close."""
    low, high = axes.get_ylim()
    place = float("inf")
    for name, y, colour, unit in sorted(curves, key=lambda curve: -(curve[1] or [0.0])[-1]):
        if not y:
            continue
        place = min(y[-1], place)
        axes.annotate(
            f"{name} {y[-1]:.1f} {unit}".strip(),
            (x[-1], place),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )
        place -= _LABEL_GAP * (high - low)


def _round_axis(axes: Axes) -> None:
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(length=3)


def _draw(paint: Callable[[Axes], None], name: str, title: str) -> str:
    return draw_svg(paint, width=_WIDTH, height=_HEIGHT, name=f"run-{name}", title=title)
