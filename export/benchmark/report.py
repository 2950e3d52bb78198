"""RESULTS.md and results.json: what was measured, beside what was published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.benchmark.markdown import markdown_table as _table
from export.benchmark.people_report import people_text
from export.benchmark.published import LAKE_ERRORS, published
from export.benchmark.run import Figures, Row, figure
from export.benchmark.waves import variance_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from export.benchmark.config import Cell, Suite
    from export.intervals import Mean


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteResults:
    """All of one suite.

    Attributes:
        suite: What was asked for.
        rows: One a learner, in the order of the config.
        pixels: Nearest neighbour in pixels, by name of the cell; empty for values.
        digest: Of the data.
        plots: File names of pictures, beside RESULTS.md, with their captions.
    """

    suite: Suite
    rows: Sequence[Row]
    pixels: Mapping[str, Mean]
    digest: str
    plots: Sequence[tuple[str, str]] = ()


def write_report(results: Sequence[SuiteResults], out: Path, *, seed: int, command: str) -> None:
    """Write `RESULTS.md` and `results.json` into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    text = (
        f"# Results\n\nMade by `{command}`, seed {seed}; in JSON: [results.json](results.json)."
        " Test classes are never seen in training. Each figure is the mean over test episodes with"
        " its 95 % interval (Student's t); each episode is adapted and predicted by itself (not"
        " transductive) through the C++ runtime.\n\n"
    )
    text += "\n".join(_suite_text(found, seed) for found in results)
    (out / "RESULTS.md").write_text(text, "utf-8")
    content = {
        "command": command,
        "seed": seed,
        "suites": [
            {
                "tasks": found.suite.tasks,
                "tasks_digest": found.digest,
                "episodes": found.suite.episodes,
                "queries": found.suite.queries,
                "protocol": found.suite.protocol,
                "pixel_nearest_neighbour": {
                    name: {"accuracy": mean.mean, "half_width": mean.half_width}
                    for name, mean in found.pixels.items()
                },
                "learners": [
                    {"label": row.plan.label, "learner": row.plan.name, "figures": row.figures}
                    for row in found.rows
                ],
            }
            for found in results
        ],
    }
    (out / "results.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")


def _suite_text(found: SuiteResults, seed: int) -> str:
    suite = found.suite
    if suite.people is not None:
        text = people_text(suite.tasks, found.digest, found.rows, suite.people, seed)
        return text + _pictures(found)
    how = "Lake's one-shot protocol" if suite.protocol == "lake" else "random test episodes"
    parts = [
        f"## {suite.tasks}\n\n{suite.episodes} episodes a figure, {how}, {suite.queries} queries a"
        f" class, data `{found.digest[:16]}`.\n",
        _accuracy_table(found, seed),
    ]
    if suite.protocol == "lake":
        errors = ", ".join(f"{who} {error:g} %" for who, error in LAKE_ERRORS.items())
        parts.append(f"Errors at this task: {errors}; a learner's is 100 % less its accuracy.\n")
    parts += [_cost_table(found, seed), _trust_table(found, seed), _control_table(found, seed)]
    if suite.curve:
        parts.append(_curve_table(found, seed))
    if suite.cells[0].ways == 1:
        parts.append(variance_text(found.rows, seed))
    return "\n".join(parts) + _pictures(found)


def _pictures(found: SuiteResults) -> str:
    return "".join(f"\n![{caption}]({name})\n\n{caption}\n" for name, caption in found.plots)


def _accuracy_table(found: SuiteResults, seed: int) -> str:
    """Accuracy in int8 on the device, in float32, and as published."""
    suite = found.suite
    cells = suite.cells
    names = [cell.name for cell in cells]
    rows = []
    notes = []
    for row in found.rows:
        paper = published(row.plan.name, suite.tasks)
        for kind in ("int8", "int4", "fp32"):
            label = row.plan.label if kind == "int8" else ""
            values = [_percent(figure(row, suite, kind, cell, seed)) for cell in cells]
            if any(values):
                rows.append([label, kind, *values])
        if paper is not None:
            values = [f"{paper.accuracy[n]:g}" if n in paper.accuracy else "" for n in names]
            mark = " (transductive)" if paper.transductive else ""
            rows.append(["", f"published{mark}", *values])
            notes.append(f"{row.plan.label}: {paper.source}")
    if found.pixels:
        values = [f"{100 * found.pixels[n].mean:.1f}" for n in names]
        rows.append(["nearest neighbour in pixels", "", *values])
    unit = "share of variance explained, %" if cells[0].ways == 1 else "accuracy, %"
    text = _table(["learner", unit, *names], rows)
    text += f"\nPublished: {'; '.join(notes)}.\n" if notes else ""
    said = [f"- {row.plan.label}: {row.plan.note}\n" for row in found.rows if row.plan.note]
    return text + "".join(["\n", *said] if said else [])


def _cost_table(found: SuiteResults, seed: int) -> str:
    header = [
        "learner", "adapting", "adapt, ms", "embed, ms an example", "bundle, kB", "fp32 bundle, kB",
        "state, kB", "outer steps", "training, s", "starts from",
    ]  # fmt: skip
    cell = found.suite.cells[0]
    rows = []
    for row in found.rows:
        made, asked = row.figures["bundles"], figure(row, found.suite, "int8", cell, seed)
        rows.append(
            [
                row.plan.label,
                made["adaptation"].replace("_", " "),
                _number(asked, "adapt_ms", "{:.3f}"),
                _number(asked, "embed_ms", "{:.3f}"),
                f"{made['bundle_bytes'] / 1000:.0f}",
                f"{made['fp32_bundle_bytes'] / 1000:.0f}",
                f"{made['state_bytes'] / 1000:.1f}",
                str(made["outer_steps"]),
                f"{made['training_seconds']:.0f}",
                row.plan.start or "",
            ]
        )
    how = f"Times at {cell.name}, int8, one thread."
    if any(row.plan.start for row in found.rows):
        how += (
            " A learner that starts from another one begins with its trained trunk; its own steps"
            " and seconds come on top of those."
        )
    return f"### What each costs\n\n{how}\n\n" + _table(header, rows)


def _trust_table(found: SuiteResults, seed: int) -> str:
    suite = found.suite
    labels = suite.cells[0].ways > 1
    header = ["learner", *(f"{'ECE, % / ' * labels}NLL {cell.name}" for cell in suite.cells)]
    text = "### How far confidence can be trusted\n\n"
    if suite.trust:
        header.append("worst ECE, % (at)")
        text += (
            f"Worst over {len(suite.trust)} numbers of ways and shots, {suite.trust_episodes}"
            f" episodes each: {', '.join(cell.name for cell in suite.trust)}.\n\n"
        )
    rows = []
    for row in found.rows:
        values = []
        for cell in suite.cells:
            asked = figure(row, suite, "int8", cell, seed)
            nll = _number(asked, "nll", "{:.3f}")
            ece = None if asked is None else asked["ece"]
            values.append(nll if ece is None else f"{100 * ece:.2f} / {nll}")
        if suite.trust:
            values.append(_worst_ece(row, suite, seed))
        rows.append([row.plan.label, *values])
    return text + _table(header, rows)


def _worst_ece(row: Row, suite: Suite, seed: int) -> str:
    found = [(figure(row, suite, "trust", cell, seed), cell.name) for cell in suite.trust]
    known = [(f["ece"], name) for f, name in found if f is not None and f["ece"] is not None]
    if not known:
        return ""
    ece, name = max(known)
    return f"{100 * ece:.2f} ({name})"


def _control_table(found: SuiteResults, seed: int) -> str:
    suite, cell = found.suite, found.suite.cells[0]
    rows = [
        [
            row.plan.label,
            *(
                _percent(figure(row, suite, kind, cell, seed))
                for kind in ("int8", "permuted", "unadapted")
            ),
        ]
        for row in found.rows
    ]
    chance = f" Chance is {100 / cell.ways:g} %." if cell.ways > 1 else ""
    return (
        f"### Controls, {cell.name}\n\nThe labels of the support set permuted, and nothing taught"
        f" at all: who learns from the support set can then only guess.{chance}\n\n"
        + _table(["learner", "adapted", "permuted labels", "not adapted"], rows)
    )


def _curve_table(found: SuiteResults, seed: int) -> str:
    cells = curve_cells(found.suite)
    rows = [
        [row.plan.label, *(_percent(figure(row, found.suite, "int8", c, seed)) for c in cells)]
        for row in found.rows
    ]
    header = ["learner", *(cell.name for cell in cells)]
    return "### Learning curves\n\n" + _table(header, rows)


def curve_cells(suite: Suite) -> list[Cell]:
    """The cells of the learning curve."""
    first = suite.cells[0]
    return [type(first)(ways=first.ways, shots=shots) for shots in suite.curve]


def _percent(found: Figures | None) -> str:
    if found is None:
        return ""
    return f"{100 * found['accuracy']:.2f} ± {100 * found['half_width']:.2f}"


def _number(found: Figures | None, name: str, how: str) -> str:
    return "" if found is None or found[name] is None else how.format(found[name])
