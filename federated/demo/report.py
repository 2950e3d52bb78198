"""The report: one HTML file without external parts, for people who have not seen the code."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from federated.demo import plots
from federated.demo.html import (
    checks_table,
    figure,
    heading,
    key_figures,
    page,
    paragraph,
    side_by_side,
    table,
)
from federated.demo.pictures import sheet_uri
from federated.demo.verdict import verdict
from federated.demo.wording import (
    duration,
    interval,
    number,
    percent,
    plus_minus,
    points,
    size,
    span,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from federated.demo.result import DemoResult, StudyResult

_TITLE = "Taught on the device"


def write_report(result: DemoResult, path: Path) -> None:
    """Write the report to `path`, replacing what is there."""
    path.write_text(render(result), encoding="utf-8")


def render(result: DemoResult) -> str:
    """The whole page. Same result, same text."""
    body = [
        "<header>",
        heading(1, _TITLE),
        paragraph(
            "A small model was meta-trained, quantized to int8 and shipped. On the device it "
            "learned a new user's classes from a few examples, forgot one of them without a "
            "trace, and became a better model for everyone through federated rounds.",
            "lead",
        ),
        *(paragraph(note, "muted") for note in result.notes),
        verdict(result),
        "</header>",
    ]
    for study in result.studies:
        body += ["<main>" if study is result.studies[0] else "", *_study(study)]
    body += ["</main>", _footer(result)]
    style = files(__package__).joinpath("report.css").read_text("utf-8")
    return page(f"{_TITLE}: Edge SDK demo", style, [part for part in body if part])


def _study(study: StudyResult) -> list[str]:
    words = study.words
    return [
        heading(2, words.title),
        paragraph(
            f"Meta-training saw {words.trained_on}. The tests use {words.tested_on}. "
            "Every figure here went through the int8 bundle and the C++ runtime."
        ),
        _key_figures(study),
        figure(
            plots.before_after(study),
            "Hollow: the better pixel baseline taught the same examples (new user), or the bundle "
            f"before the rounds (new {words.people}). Filled: after. "
            "Bars are 95 % intervals.",
            lead="Before and after.",
        ),
        *_new_user(study),
        *_forgetting(study),
        *_rounds(study),
        *_costs(study),
        heading(3, "Targets and guards"),
        checks_table((c.met, c.name, c.asked, c.found) for c in study.checks),
    ]


def _key_figures(study: StudyResult) -> str:
    entries: list[tuple[str, str, str, str]] = []
    for shots in (1, 5):
        found = study.few_shot.at(shots)
        entries.append(
            (
                f"new user, {_examples(shots)} of each",
                f"{100 * found.adapted.mean:.1f}",
                "%",
                f"{points(found.gain.mean, sign=True)} {interval(found.gain)} over {found.better}",
            )
        )
    federated = study.federated
    entries.append(
        (
            f"new {study.words.people}, nothing taught, after rounds",
            f"{100 * federated.after.mean:.1f}",
            "%",
            f"{points(federated.lift.mean, sign=True)} {interval(federated.lift)} over the bundle "
            "before",
        )
    )
    value, unit = duration(study.latency.adapt_ms).split(" ")
    entries.append(
        (
            f"to adapt to {study.latency.adapt_examples} embedded examples",
            value,
            unit,
            f"bundle of {size(study.export.bundle_bytes)}",
        )
    )
    return key_figures(entries)


def _new_user(study: StudyResult) -> list[str]:
    few, words = study.few_shot, study.words
    rows = [
        (
            str(e.shots),
            plus_minus(e.adapted),
            plus_minus(e.nearest),
            plus_minus(e.logistic),
            f"{points(e.gain.mean, sign=True).split()[0]} {interval(e.gain)}",
        )
        for e in few.by_shots
    ]
    parts = [
        heading(3, "A new user teaches"),
        paragraph(
            f"{few.ways} {words.things}, a few examples of each, then {number(few.queries)} "
            f"predictions; {few.seeds} times with other examples."
        ),
        side_by_side(
            [
                figure(
                    plots.shots_curve(few, study.name),
                    "Bands are 95 % intervals over the draws.",
                    lead="Each example helps.",
                ),
                figure(
                    _sheet(study.pictures.taught, f"Images of {few.ways} classes"),
                    f"What one user taught: each column is a class, {study.personal.shots} "
                    "examples of it.",
                    lead="All that it learned from.",
                ),
            ]
        ),
        table(
            ("shots", "adapted, %", "1-NN, %", "logistic, %", "gain, points"),
            rows,
            numbers_from=0,
        ),
    ]
    if few.confusions:
        labels = few.class_names
        parts.append(
            side_by_side(
                figure(
                    plots.confusion(
                        few.confusions[shots],
                        labels,
                        name=f"{study.name}-shots-{shots}",
                        title=f"Confusions after {_examples(shots)} of each class",
                    ),
                    "Percent of the images of a row, all draws together.",
                    lead=f"After {_examples(shots)} of each.",
                )
                for shots in (1, 5)
            )
        )
    return parts


def _forgetting(study: StudyResult) -> list[str]:
    p = study.personal
    same = "is bit for bit" if p.forget_exact else "is NOT bit for bit"
    reopened = (
        "The state survived closing and reopening unchanged."
        if p.reopened_same
        else "The state did NOT survive closing and reopening unchanged."
    )
    return [
        heading(3, "…and has one class forgotten"),
        paragraph(
            f"Taught {_examples(p.shots)} of each class, the model was right on "
            f"{percent(p.accuracy)} of {number(p.num_queries)} images and predicted "
            f"“{p.forgotten}” {p.predicted_before} times. Told to forget “{p.forgotten}”, it "
            f"predicted it {_times(p.predicted_after)}; on the other classes it went from "
            f"{percent(p.accuracy_rest_before)} to {percent(p.accuracy_rest_after)}. Its state "
            f"{same} that of a device that was never taught the class. {reopened}"
        ),
        paragraph(
            "Before the model might answer, the guardrail asked it about "
            f"{number(p.judged)} of the taught examples, each held out: it was right on "
            f"{percent(p.judged_accuracy)}. Each step is in the user's hash-chained audit log, "
            f"{p.logged} entries without any data."
        ),
    ]


def _rounds(study: StudyResult) -> list[str]:
    f, words = study.federated, study.words
    text = (
        f"{f.writers} {words.people} with {_images(f.images)} of each class took part in "
        f"{f.rounds} rounds of up to {f.cohort}; only clipped updates of the "
        "class prototypes left their devices, without noise: this shows learning, and is no "
        f"formal privacy guarantee. {f.held_out} other {words.people}, none of whose images any "
        "participant had, then tried the new bundle without teaching it anything: "
        f"{percent(f.before.mean)} {interval(f.before)} before, "
        f"{percent(f.after.mean)} {interval(f.after)} after."
    )
    parts = [
        heading(3, f"What {words.people} learn together"),
        paragraph(text),
        paragraph(_taught_text(study)),
        side_by_side(
            [
                figure(
                    plots.rounds_curve(f, study.name),
                    f"Held-out {words.people} who have taught nothing; band: 95 % interval over "
                    "them. Round 0 knows the names of the classes and nothing of their looks.",
                    lead="Rounds.",
                ),
                figure(
                    _sheet(study.pictures.written, f"Handwriting of held-out {words.people}"),
                    f"Each row is one of the held-out {words.people}.",
                    lead="Hands it had not seen.",
                ),
            ]
        ),
    ]
    labels = f.labels if max(map(len, f.labels)) <= 2 else [str(i) for i in range(len(f.labels))]
    parts.append(
        side_by_side(
            figure(
                plots.confusion(
                    counts,
                    labels,
                    name=f"{study.name}-rounds-{name}",
                    title=f"Confusions of held-out {words.people} {name} the rounds",
                ),
                caption,
                lead=f"{name.capitalize()} the rounds.",
            )
            for name, counts, caption in (
                ("before", f.confusion_before, "A tie of all classes, which the first one wins."),
                ("after", f.confusion_after, "Percent of the images of a row."),
            )
        )
    )
    return parts


def _taught_text(study: StudyResult) -> str:
    taught = study.federated.taught
    if taught is None:
        return (
            f"Each of the {study.words.people} has one image of each class, so that none is left "
            "to test on after teaching."
        )
    return (
        f"When they then teach {_examples(taught.shots)} of each class, they get "
        f"{percent(taught.new.mean)} from the new bundle and {percent(taught.old.mean)} from the "
        f"old one: {points(taught.gain.mean, sign=True)} {interval(taught.gain)}."
    )


def _costs(study: StudyResult) -> list[str]:
    latency = study.latency
    rows = [
        ("embed one image", duration(latency.embed_ms)),
        (f"adapt on {latency.adapt_examples} embedded examples", duration(latency.adapt_ms)),
        ("predict one image from its features", duration(latency.predict_ms)),
    ]
    return [
        heading(3, "What it costs"),
        side_by_side(
            [
                figure(
                    plots.sizes(study),
                    "A round's result is a new starting state and manifest; all other graphs "
                    "stay byte for byte.",
                    lead="Sizes.",
                ),
                figure(
                    table(("one call", "median"), rows, numbers_from=1),
                    f"One thread, {latency.repeats} calls each, on the machine of this run; "
                    "other programs may have used it too.",
                    lead="Times.",
                ),
            ]
        ),
    ]


def _footer(result: DemoResult) -> str:
    trained = "; ".join(
        f"{s.training.learner} on {s.training.tasks}, {number(s.training.steps)} steps over "
        f"{number(s.training.num_classes)} classes, {span(s.training.seconds)}, bundle "
        f"{s.export.digest[:12]}, after rounds {s.federated.digest[:12]}"
        for s in result.studies
    )
    versions = ", ".join(f"{name} {text}" for name, text in result.versions.items())
    return (
        "<footer>"
        + paragraph(f"Seed {result.seed}. Training: {trained}.")
        + paragraph(
            f"The whole run took {span(result.seconds)} ({span(result.cpu_seconds)} of processor "
            f"time). {versions}."
        )
        + paragraph(
            "Intervals are 95 % (Student's t) over draws for the new user and over held-out people "
            "for the rounds; draws share a pool of images, so that the former say little about "
            "other data. Gains are paired."
        )
        + "</footer>"
    )


def _sheet(images: NDArray[np.uint8], text: str) -> str:
    return f'<img class="ink" alt="{text}" src="{sheet_uri(images)}">'


def _examples(count: int) -> str:
    return "1 example" if count == 1 else f"{count} examples"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _times(count: int) -> str:
    return "not once" if count == 0 else f"{count} times"
