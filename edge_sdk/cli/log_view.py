"""An audit log for people, as a table, and for programs, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sdk.audit import AuditReport
    from edge_sdk.audit_chain import AuditRecord

_DIGEST_CHARS = 12


def log_as_json(records: Sequence[AuditRecord], report: AuditReport) -> dict[str, Any]:
    """Return all good entries and what verifying found, fit for `json.dumps`."""
    return {
        "entries": [
            {
                "seq": record.seq,
                "at_ms": record.at_ms,
                "kind": record.entry.KIND,
                "hash": record.digest,
                **record.entry.to_fields(),
            }
            for record in records
        ],
        "verified": {**asdict(report), "ok": report.ok},
    }


def print_log(records: Sequence[AuditRecord]) -> None:
    """Print one row an entry to standard output."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("what", no_wrap=True, style="cyan")
    table.add_column("", overflow="fold")
    for record in records:
        at = datetime.fromtimestamp(record.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        shown = ", ".join(
            f"{name} {_short(name, value)}"
            for name, value in record.entry.to_fields().items()
            if value is not None
        )
        what = record.entry.KIND.replace("_", " ")
        table.add_row(str(record.seq), at, what, Text(shown.replace("_", " ")))
    Console(highlight=False).print(table)


def verdict(report: AuditReport) -> str:
    """Say in one line what verifying found."""
    if report.first_bad is not None:
        return f"entry {report.first_bad} is bad: {report.reason}"
    if report.torn_bytes:
        return (
            f"{report.num_entries} entries verified, then a torn line of {report.torn_bytes} "
            "bytes; --repair cuts it off"
        )
    return f"{report.num_entries} entries verified, head {report.head}"


def _short(name: str, value: object) -> str:
    if name.endswith("_digest"):
        return str(value)[:_DIGEST_CHARS]
    return f"{value:.4g}" if isinstance(value, float) else str(value)
