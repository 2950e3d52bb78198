"""The first thing a reader should know: whether the targets were met, and by how much not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federated.demo.html import escape

if TYPE_CHECKING:
    from federated.demo.result import DemoResult


def verdict(result: DemoResult) -> str:
    """A short block: all met, or each target and guard that was missed."""
    total = sum(len(study.checks) for study in result.studies)
    if not result.missed:
        return f'<div class="verdict">All {total} targets and guards hold.</div>'
    items = "".join(
        f"<li>{escape(study.name)}, {escape(check.name)}: asked {escape(check.asked)}; "
        f"found {escape(check.found)}.</li>"
        for study in result.studies
        for check in study.checks
        if not check.met
    )
    return (
        f'<div class="verdict missed">Missed: {len(result.missed)} of {total} targets and '
        f"guards.<ul>{items}</ul></div>"
    )
