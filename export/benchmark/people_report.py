"""How a suite of people is shown: two tables and one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from export.benchmark.markdown import markdown_table
from export.benchmark.people import people_figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from export.benchmark.people import Figures, PeopleOptions
    from export.benchmark.run import Row

mpl.use("svg")
from matplotlib import pyplot as plt

CAPTION = (
    "What teaching gives to people whom no training saw: the gain of each (dots) and the mean with"
    " its 95 % interval over people, after {shots} examples a label."
)

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "edge-sdk",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}
_COLOURS = ("#d97706", "#2563eb", "#059669", "#7c3aed")


def people_caption(options: PeopleOptions) -> str:
    """What the picture shows."""
    return CAPTION.format(shots=" and ".join(str(shots) for shots in options.shots))


def known_rows(rows: Sequence[Row], options: PeopleOptions, seed: int) -> list[tuple[Row, Figures]]:
    """The rows that have been measured, with their figures."""
    name = people_figure(options, seed)
    return [(row, row.figures[name]) for row in rows if name in row.figures]


def people_text(
    tasks: str, digest: str, rows: Sequence[Row], options: PeopleOptions, seed: int
) -> str:
    """The suite's part of RESULTS.md, without the picture."""
    known = known_rows(rows, options, seed)
    if not known:
        return f"## {tasks}: personalization to people\n"
    first = known[0][1]
    shots = [str(shots) for shots in options.shots]
    counted = " and ".join(shots)
    text = (
        f"## {tasks}: personalization to people\n\n"
        f"{first['labels']} labels that mean the same for everyone, {first['people']} people whom"
        f" neither training nor any choice saw, data `{digest[:16]}`. *Unadapted* is the generic"
        f" model: the bundle taught {options.per_label} examples of each label by the training"
        f" people, as ships before its user teaches anything. Each person then teaches {counted}"
        " examples of every label that he or she has more of, and is asked all the others, of"
        f" whatever label; {options.seeds} draws a person. Gains are paired by person, with 95 %"
        " intervals over people; how the generic model is taught is chosen on the validation"
        " people, for each side of the comparison by itself.\n\n"
    )
    header = ["learner", "unadapted, %"]
    for k in shots:
        header += [f"{k} taught, %", f"gain {k}, points", f"who lose, {k}"]
    table = []
    for row, found in known:
        values = [row.plan.label, _percent(found["unadapted"])]
        for k in shots:
            cell = found["shots"][k]
            values += [_percent(cell["adapted"]), _gain(cell["gain"]), f"{cell['losers']:.0%}"]
        table.append(values)
    text += markdown_table(header, table)
    text += (
        "\nPart of that may be knowing which labels a person uses. Below, both sides may answer"
        " only with the labels that the person taught, and are asked those only: what is left is"
        " knowing the person's hand.\n\n"
    )
    header = ["learner", "unadapted, %", *(f"gain {k}, points" for k in shots), "prior", "steps"]
    table = []
    for row, found in known:
        gains = [_gain(found["shots"][k]["gain_known"]) for k in shots]
        personal = found["personal"]
        counts = row.figures["bundles"]["adaptation"] != "gradient"
        taught = (
            [f"{personal['prior_count']:g} examples", ""]
            if counts
            else ["", f"{personal['steps']}, then {personal['user_steps']}"]
        )
        table.append([row.plan.label, _percent(found["unadapted_known"]), *gains, *taught])
    return text + markdown_table(header, table)


def plot_people(rows: Sequence[Row], options: PeopleOptions, seed: int, path: Path) -> None:
    """Gain of each person and its mean with a 95 % interval, for each learner and number of shots.

    Args:
        rows: Learners, from top to bottom.
        options: What was measured.
        seed: Of what was measured.
        path: The SVG file.
    """
    known = known_rows(rows, options, seed)
    rng = np.random.default_rng(seed)  # of the dots' heights
    step = 0.7 / len(options.shots)
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 0.9 + 0.5 * max(1, len(known))))
        axes.axvline(0, color="0.5", linewidth=0.8, zorder=0)
        for i, shots in enumerate(options.shots):
            colour = _COLOURS[i % len(_COLOURS)]
            for y, (_, found) in enumerate(known):
                cell = found["shots"][str(shots)]
                place = y + step * (i - (len(options.shots) - 1) / 2)
                each = 100 * np.array(cell["gains"])
                heights = place + rng.uniform(-0.28, 0.28, len(each)) * step
                axes.scatter(each, heights, s=7, color=colour, alpha=0.28, linewidths=0, zorder=1)
                axes.errorbar(
                    100 * cell["gain"]["mean"], place, xerr=100 * cell["gain"]["half_width"],
                    fmt="o", color=colour, markersize=4.5, linewidth=1.6, capsize=2.5, zorder=2,
                    label=f"{shots} taught" if y == 0 else None,
                )  # fmt: skip
        axes.set_yticks(range(len(known)), [row.plan.label for row, _ in known])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(known) - 0.4, -0.6)
        axes.grid(axis="x", color="0.9", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_xlabel("gain of accuracy over the generic model, points")
        if known:
            axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=4,
                        handletextpad=0.2, borderaxespad=0)  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _percent(mean: Figures) -> str:
    return f"{100 * mean['mean']:.1f} ± {100 * mean['half_width']:.1f}"


def _gain(mean: Figures) -> str:
    """The gain and its interval; bold where that excludes zero."""
    text = f"{100 * mean['mean']:+.1f} ± {100 * mean['half_width']:.1f}".replace(
        "-", "\N{MINUS SIGN}"
    )
    return f"**{text}**" if mean["mean"] > mean["half_width"] else text
