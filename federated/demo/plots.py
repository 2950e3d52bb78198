"""The report's figures: what goes where on which axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from federated.demo.result import LOGISTIC, NEAREST
from federated.demo.svg import ACCENT, INK, MUTED, PAPER, RULE, SECOND, draw_svg
from federated.demo.wording import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from export.intervals import Mean
    from federated.demo.result import Confusion, FederatedResult, FewShotResult, StudyResult

_PERCENT = FuncFormatter(lambda value, _: f"{value:.0f} %")
_WIDTH = 380
_CHARACTER, _RIGHT_MARGIN = 0.02, 0.1
"""Width of a character, and of what lies right of 100 %, in parts of the axis."""
_DARK_SHARE = 0.55
"""From this share on, a cell of a confusion matrix is too dark for dark text."""
_LABEL_GAP = 0.14
"""Least distance of two direct labels, in parts of the axis."""


def before_after(study: StudyResult) -> str:
    """Four comparisons as pairs of dots with their 95 % intervals."""
    rows = _comparisons(study)

    def paint(axes: Axes) -> None:
        for y, (name, before, after, what) in enumerate(reversed(rows)):
            axes.plot(
                [100 * before.mean, 100 * after.mean], [y, y], color=RULE, linewidth=1.2, zorder=1
            )
            _dot(axes, before, y, filled=False)
            _dot(axes, after, y, filled=True)
            axes.annotate(name, (0, y + 0.36), color=INK, va="center", annotation_clip=False)
            _beside(axes, before, after, y, what)
        axes.set(xlim=(0, 100), ylim=(-0.5, len(rows) - 0.35))
        axes.xaxis.set_major_formatter(_PERCENT)
        axes.xaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
        axes.yaxis.set_major_locator(NullLocator())
        axes.spines["left"].set_visible(False)
        axes.tick_params(length=3)

    return draw_svg(
        paint,
        width=400,
        height=34 + 56 * len(rows),
        zoom=1.3,
        name=f"{study.name}-before-after",
        title="Accuracy before and after, with 95 percent intervals",
    )


def _comparisons(study: StudyResult) -> list[tuple[str, Mean, Mean, str]]:
    rows = []
    for shots in (1, 5):
        found = study.few_shot.at(shots)
        name = f"New user, {shots} example{'s' if shots > 1 else ''} of each"
        rows.append((name, found.baseline, found.adapted, found.better))
    federated = study.federated
    name = f"New {study.words.people}, nothing taught"
    rows.append((name, federated.before, federated.after, "old bundle"))
    if federated.taught is not None:
        taught = federated.taught
        name = f"New {study.words.people}, {taught.shots} example of each"
        rows.append((name, taught.old, taught.new, "old bundle"))
    return rows


def _dot(axes: Axes, mean: Mean, y: float, *, filled: bool) -> None:
    colour = ACCENT if filled else MUTED
    axes.errorbar(
        100 * mean.mean,
        y,
        xerr=100 * mean.half_width,
        fmt="o",
        color=colour,
        markerfacecolor=colour if filled else "none",
        markersize=6,
        elinewidth=1.6,
        zorder=3,
    )


def _beside(axes: Axes, before: Mean, after: Mean, y: int, what: str) -> None:
    """Name the two dots: each on its outer side where there is room, else below."""
    low, high = sorted((before, after), key=lambda mean: mean.mean)
    for mean, is_left in ((low, True), (high, False)):
        text = f"{100 * mean.mean:.1f}" + ("" if mean is after else f" {what}")
        edge = max(mean.low, 0.0) if is_left else min(mean.high, 1.0)
        room = edge if is_left else 1 + _RIGHT_MARGIN - edge
        is_beside = room >= _CHARACTER * len(text)
        outward = -7 if is_left else 7
        axes.annotate(
            text,
            (100 * edge, y),
            xytext=(outward, 0) if is_beside else (0, -12),
            textcoords="offset points",
            ha="right" if is_left == is_beside else "left",
            va="center",
            color=ACCENT if mean is after else MUTED,
            fontweight="bold" if mean is after else "normal",
            annotation_clip=False,
        )


def shots_curve(few_shot: FewShotResult, name: str) -> str:
    """Accuracy over the examples taught of each class, ours and the baselines."""
    shots = [entry.shots for entry in few_shot.by_shots]
    curves = (
        ("adapted bundle", [e.adapted for e in few_shot.by_shots], ACCENT, "-"),
        (LOGISTIC, [e.logistic for e in few_shot.by_shots], SECOND, "--"),
        (NEAREST, [e.nearest for e in few_shot.by_shots], MUTED, ":"),
    )

    def paint(axes: Axes) -> None:
        for _, means, colour, dashes in curves:
            _curve(axes, shots, means, colour, dashes)
        _percent_axis(axes, [mean for _, means, _, _ in curves for mean in means])
        ends = [(text, 100 * means[-1].mean, colour) for text, means, colour, _ in curves]
        _end_labels(axes, shots[-1], ends)
        axes.set_xscale("log")
        axes.set_xlabel("examples taught of each class")
        axes.xaxis.set_major_locator(FixedLocator(shots))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))

    return draw_svg(
        paint,
        width=_WIDTH,
        height=290,
        name=f"{name}-shots",
        title="Accuracy over examples taught of each class",
    )


def rounds_curve(federated: FederatedResult, name: str) -> str:
    """Accuracy of writers who took no part, before they teach anything, over the rounds."""
    means = [federated.before, *federated.per_round]

    def paint(axes: Axes) -> None:
        rounds = list(range(len(means)))
        _curve(axes, rounds, means, ACCENT, "-")
        chance = 100 / len(federated.labels)
        axes.axhline(chance, color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
        axes.annotate(
            "chance",
            (rounds[-1], chance),
            xytext=(0, 5),
            textcoords="offset points",
            ha="right",
            color=MUTED,
        )
        axes.annotate(
            f"{100 * means[-1].mean:.1f}",
            (rounds[-1], 100 * means[-1].mean),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=ACCENT,
            fontweight="bold",
            annotation_clip=False,
        )
        axes.set_xlabel("federated rounds")
        axes.xaxis.set_major_locator(FixedLocator(rounds))
        axes.set_ylim(0, 100)
        axes.yaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.tick_params(length=3)

    return draw_svg(
        paint,
        width=_WIDTH,
        height=290,
        name=f"{name}-rounds",
        title="Accuracy of held-out writers over federated rounds",
    )


def confusion(counts: Confusion, labels: Sequence[str], *, name: str, title: str) -> str:
    """Rows: what was written; columns: what was predicted; the darker, the more often."""

    def paint(axes: Axes) -> None:
        for y, row in enumerate(counts):
            total = max(1, sum(row))
            for x, count in enumerate(row):
                share = count / total
                if count == 0:
                    continue
                right = x == y
                axes.add_patch(
                    Rectangle(
                        (x - 0.47, y - 0.47),
                        0.94,
                        0.94,
                        facecolor=ACCENT if right else SECOND,
                        alpha=0.06 + 0.84 * share,
                        linewidth=0,
                    )
                )
                colour = PAPER if share > _DARK_SHARE else INK
                if share >= 0.03:
                    axes.text(
                        x,
                        y,
                        f"{100 * share:.0f}",
                        ha="center",
                        va="center",
                        fontsize=9.5,
                        color=colour,
                    )
        ticks = range(len(labels))
        axes.set(xlim=(-0.6, len(labels) - 0.4), ylim=(len(labels) - 0.4, -0.6), aspect="equal")
        axes.set_xticks(list(ticks), list(labels))
        axes.set_yticks(list(ticks), list(labels))
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set(xlabel="predicted", ylabel="written")

    return draw_svg(paint, width=_WIDTH, height=_WIDTH - 20, name=name, title=title)


def sizes(study: StudyResult) -> str:
    """Bytes of what is stored and sent, as bars on one scale."""
    export, federated = study.export, study.federated
    bars = (
        ("frozen graph, fp32", export.embed_fp32_bytes, MUTED),
        ("frozen graph, int8", export.embed_int8_bytes, ACCENT),
        ("whole bundle", export.bundle_bytes, ACCENT),
        ("download after the rounds", federated.download_bytes, ACCENT),
        ("upload of one update", federated.upload_bytes, ACCENT),
    )

    def paint(axes: Axes) -> None:
        longest = max(value for _, value, _ in bars)
        for y, (text, value, colour) in enumerate(reversed(bars)):
            axes.barh(y, value, height=0.3, color=colour)
            axes.text(0, y + 0.36, text, va="center", color=INK)
            axes.annotate(
                size(value),
                (value, y),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=colour,
            )
        axes.set(xlim=(0, 1.2 * longest), ylim=(-0.35, len(bars) - 0.4))
        axes.set_axis_off()

    return draw_svg(
        paint,
        width=_WIDTH,
        height=44 * len(bars) + 10,
        name=f"{study.name}-sizes",
        title="Sizes of graphs, bundle and updates",
    )


def _curve(axes: Axes, x: Sequence[float], means: Sequence[Mean], colour: str, dashes: str) -> None:
    low, high = ([100 * getattr(m, end) for m in means] for end in ("low", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    axes.plot(
        x,
        [100 * m.mean for m in means],
        color=colour,
        linestyle=dashes,
        linewidth=1.8,
        marker="o",
        markersize=3.5,
    )


def _end_labels(axes: Axes, x: float, ends: Sequence[tuple[str, float, str]]) -> None:
    """Direct labels at the right end, pushed apart where lines come close."""
    low, high = axes.get_ylim()
    place = high
    for text, y, colour in sorted(ends, key=lambda end: -end[1]):
        place = min(y, place)
        axes.annotate(
            f"{text}\n{y:.1f}",
            (x, place),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )
        place -= _LABEL_GAP * (high - low)


def _percent_axis(axes: Axes, means: Sequence[Mean]) -> None:
    floor = 10 * int(10 * min(mean.low for mean in means))
    axes.set_ylim(max(0, floor), 100)
    axes.yaxis.set_major_formatter(_PERCENT)
    axes.tick_params(length=3)
