"""A run as one HTML page without external parts: for the coordinator, and those who ask him."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from federated.console import plots, wording
from federated.demo.html import (
    details,
    figure,
    heading,
    key_figures,
    page,
    paragraph,
    side_by_side,
    table,
)
from federated.demo.wording import number, percent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from federated.run_log.records import RoundEntry, RunRecord

_TITLE = "Federated run"
_FEW = 6


def write_report(run: RunRecord, path: Path) -> None:
    """Write the page to `path`, replacing what is there."""
    path.write_text(render(run), encoding="utf-8")


def render(run: RunRecord) -> str:
    """The whole page. Same log, same text."""
    body = [
        "<header>",
        heading(1, _TITLE),
        paragraph(wording.standing(run), "lead"),
        paragraph(_planned(run)),
        _key_figures(run),
        "</header>",
        "<main>",
        *_accuracy(run),
        *_candidate(run),
        *_privacy(run),
        *_participation(run),
        *_traffic(run),
        *_every_round(run),
        "</main>",
        _footer(run),
    ]
    style = files("federated.demo").joinpath("report.css").read_text("utf-8")
    return page(_TITLE, style, body)


def _planned(run: RunRecord) -> str:
    about = run.about
    again = f" It was resumed {wording.times(run.num_resumed)}." if run.num_resumed else ""
    ended = f", ended {wording.moment(run.ended_at)}" if run.ended_at else ""
    return (
        f"{number(about.num_clients)} clients could be asked, {wording.wanted(about)} of them were "
        f"wanted in a round. Begun {wording.moment(run.started_at)}{ended}.{again}"
    )


def _key_figures(run: RunRecord) -> str:
    asked = sum(e.num_asked for e in run.rounds)
    used = sum(e.num_accepted for e in run.rounds)
    entries = [("rounds", f"{len(run.rounds)}", f"of {run.about.rounds}", "")]
    if run.measured:
        name = run.measured[-1]
        last = list(run.scores(name).values())[-1]
        note = f"worst tenth {percent(last.worst_decile)} of {last.people}"
        entries.append((f"accuracy, {wording.measured(name)}", f"{100 * last.mean:.1f}", "%", note))
    elif run.evaluation is not None:
        judged = run.evaluation.verdict.candidate
        note = f"worst tenth {percent(judged.worst_decile)}"
        entries.append(("candidate's accuracy, judged", f"{100 * judged.mean:.1f}", "%", note))
    if run.about.budget_epsilon is not None:
        budget = f"of {run.about.budget_epsilon:g}"
        note = f"at delta {run.about.budget_delta:g}"
        entries.append(("epsilon spent", wording.epsilon(run.epsilon), budget, note))
    share = f"{100 * used / asked:.0f}" if asked else wording.NONE
    note = f"{number(used)} of {number(asked)} devices that were asked"
    entries.append(("updates used", share, "%", note))
    return key_figures(entries)


def _accuracy(run: RunRecord) -> list[str]:
    if not run.measured:
        return []
    head = ("accuracy of", "mean, first", "mean, last", "worst tenth, first", "last", "people")
    rows = []
    for name in run.measured:
        found = list(run.scores(name).values())
        first, last = found[0], found[-1]
        rows.append(
            (
                wording.measured(name),
                percent(first.mean),
                percent(last.mean),
                percent(first.worst_decile),
                percent(last.worst_decile),
                str(last.people),
            )
        )
    return [
        heading(2, "Accuracy"),
        paragraph(
            "Each person counts the same. The worst tenth is the mean over the tenth of people "
            "who are served worst."
        ),
        side_by_side(
            figure(plots.accuracy(run, name), "By round.", lead=f"Of {wording.measured(name)}.")
            for name in run.measured
        ),
        table(head, rows, numbers_from=1),
    ]


def _candidate(run: RunRecord) -> list[str]:
    report = run.evaluation
    if report is None:
        return []
    found = report.verdict
    rows = [
        (
            "current bundle",
            percent(found.current.mean),
            percent(found.current.worst_decile),
        ),
        (
            "candidate",
            percent(found.candidate.mean),
            percent(found.candidate.worst_decile),
        ),
    ]
    who = [
        ("asked", number(report.num_sampled)),
        ("judged", number(report.num_accepted)),
        ("no answer", number(report.num_missing)),
        *((wording.reason(name), number(n)) for name, n in report.refused.items()),
        *((wording.reason(name), number(n)) for name, n in report.failed.items()),
    ]
    noise = (
        f" Noise of deviation {found.noise_deviation:.1f} users is on the sum of gains."
        if found.noise_deviation
        else ""
    )
    return [
        heading(2, "The candidate, judged on devices"),
        paragraph(found.for_people()),
        paragraph(
            "Each device adapted both bundles to a part of its user's examples and counted right "
            "answers on the rest. The worst tenth comes from a histogram and is good to 2.5 "
            f"points before noise.{noise}"
        ),
        side_by_side(
            [
                table(("accuracy with", "mean", "worst tenth"), rows, numbers_from=1),
                table(("devices", ""), who, numbers_from=1),
            ]
        ),
    ]


def _privacy(run: RunRecord) -> list[str]:
    title = heading(2, "Privacy")
    about = run.about
    if about.budget_epsilon is None:
        return [title, paragraph("No noise was added: there is no formal privacy guarantee.")]
    text = (
        f"User-level differential privacy: epsilon {wording.epsilon(run.epsilon)} of "
        f"{about.budget_epsilon:g} is spent on these users, at delta {about.budget_delta:g}. What "
        "other runs on the same ledger have spent is in it. A round that would exceed the budget "
        "is refused."
    )
    if not any(e.epsilon is not None for e in run.rounds):
        return [title, paragraph(text)]
    caption = "Recorded before each round; in a long run computed for some rounds only."
    rows = [
        (str(e.server_round + 1), f"{e.epsilon:.3f}") for e in run.rounds if e.epsilon is not None
    ]
    plot = figure(plots.epsilon(run), caption, lead="Epsilon.")
    shown = table(("after round", "epsilon spent"), _thinned(rows), numbers_from=0)
    return [title, paragraph(text), side_by_side([plot, shown])]


def _participation(run: RunRecord) -> list[str]:
    if not run.rounds:
        return []
    causes = (
        ("no reply", wording.total(e.dropped for e in run.rounds)),
        ("refused by the server", wording.total(e.refused for e in run.rounds)),
        ("failed on the device", wording.total(e.failed for e in run.rounds)),
    )
    asked = sum(e.num_asked for e in run.rounds) or 1
    given_up = wording.total(e.given_up for e in run.rounds)
    groups = f"Masked groups that gave their sum up: {wording.counts(given_up)}."
    rows = [
        (what, _unless(wording.reason(name), what), number(count), percent(count / asked))
        for what, by_reason in causes
        for name, count in by_reason.items()
    ]
    return [
        heading(2, "Participation"),
        side_by_side(
            [
                figure(
                    plots.participation(run),
                    "Devices that were asked, by what became of them.",
                    lead="Each round.",
                ),
                table(("not used", "reason", "devices", "of those asked"), rows, numbers_from=2)
                if rows
                else paragraph("Every device that was asked sent an update that was used."),
            ]
        ),
        *([paragraph(groups)] if given_up else []),
    ]


def _traffic(run: RunRecord) -> list[str]:
    found = wording.traffic_of(run)
    if not found:
        return []
    rows = [
        (
            name,
            wording.num_bytes(total),
            wording.num_bytes(total / len(found)),
            wording.each(total, devices),
        )
        for name, total, devices in (
            (
                "sent to devices",
                sum(t.bytes_down for t in found),
                sum(t.devices_down for t in found),
            ),
            ("received", sum(t.bytes_up for t in found), sum(t.devices_up for t in found)),
        )
    ]
    shown = table(("", "all rounds", "a round", "a device and round"), rows, numbers_from=1)
    note = "Tensors and counts as they were sent, without the transport's framing."
    if not plots.traffic_varies(run):
        return [
            heading(2, "Bytes"),
            paragraph(f"{note} It was the same for every device and round."),
            shown,
        ]
    plot = figure(plots.traffic(run), "One device, on average.", lead="Each round.")
    return [heading(2, "Bytes"), paragraph(note), side_by_side([plot, shown])]


def _every_round(run: RunRecord) -> list[str]:
    if not run.rounds:
        return []
    head = ["round", "asked", "used", "no reply", "refused", "failed", "clip", "epsilon"]
    head += [
        f"{what}, {wording.measured(name)}" for name in run.measured for what in ("mean", "worst")
    ]
    rows = [_round_row(run, entry) for entry in run.rounds]
    content = table([*head, "down", "up", "seconds"], rows, numbers_from=0)
    return [
        heading(2, "Every round"),
        paragraph("All figures of the plots above, as numbers."),
        details(f"{number(len(rows))} rounds", content),
    ]


def _round_row(run: RunRecord, entry: RoundEntry) -> list[str]:
    scores = [entry.evaluation.get(name) for name in run.measured]
    moved = entry.traffic
    return [
        str(entry.server_round + 1),
        str(entry.num_asked),
        str(entry.num_accepted),
        str(sum(entry.dropped.values())),
        str(sum(entry.refused.values())),
        str(sum(entry.failed.values())),
        f"{entry.clipping_norm:.3g}",
        wording.epsilon(entry.epsilon),
        *(text for found in scores for text in (wording.accuracy(found), wording.worst(found))),
        *(
            [wording.NONE] * 2
            if moved is None
            else [wording.num_bytes(moved.bytes_down), wording.num_bytes(moved.bytes_up)]
        ),
        wording.NONE if entry.wall_s is None else f"{entry.wall_s:.1f}",
    ]


def _footer(run: RunRecord) -> str:
    text = f"Started from bundle {run.about.bundle_digest[:12]}, by {run.about.source.value}."
    new = run.end.get("bundle_digest")
    if isinstance(new, str):
        text += f" New bundle {new[:12]}."
    note = (
        "For the coordinator: who was asked and who answered is not covered by noise. What may be "
        "told to others is in the new bundle's model card."
    )
    return f"<footer>{paragraph(text)}{paragraph(note)}</footer>"


def _thinned(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A few rows, evenly, with the last; the table of rounds has all."""
    step = -(-len(rows) // _FEW) or 1
    return list(rows[::-1][::step][::-1])


def _unless(text: str, known: str) -> str:
    """A text, or a dash where it says what is known."""
    return wording.NONE if text == known else text
