"""A bundle's manifest for people, as tables that fit 60 columns, and for programs, as JSON."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_sdk.manifest_json import encode_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sdk.bundle import Bundle
    from edge_sdk.manifest import Manifest

_MAX_LABELS_SHOWN = 12
_DIGEST_CHARS = 12


def as_json(bundle: Bundle) -> dict[str, Any]:
    """Return the bundle's digest and the whole of its manifest, fit for `json.dumps`."""
    return {"digest": bundle.digest, "manifest": json.loads(encode_manifest(bundle.manifest))}


def print_bundle(bundle: Bundle) -> None:
    """Print what the bundle is, its state tensors and its files to standard output."""
    console = Console(highlight=False)
    manifest = bundle.manifest
    total = sum(entry.size for entry in manifest.files.values())
    console.print(_cell(f"{manifest.name}, version {manifest.version}", "bold"))
    console.print(f"every file verified, {_size(total)} in all", style="green")
    for table in (_facts(bundle), _state(manifest), _files(manifest)):
        console.print()
        console.print(table)


def _facts(bundle: Bundle) -> Table:
    manifest = bundle.manifest
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    steps = f", {manifest.steps} steps" if manifest.adaptation == "gradient" else ""
    facts = {
        "learner": f"{manifest.learner} ({manifest.adaptation.replace('_', ' ')}{steps})",
        "labels": _labels(manifest) if manifest.outputs is None else "",
        "values": "" if manifest.outputs is None else f"{manifest.outputs} numbers each",
        "input": f"float32 {_rows(manifest.input.shape)}: {manifest.input.description}",
        "features": f"float32 {_rows(manifest.features.shape)}",
        "encoding": _pairs(manifest.quantization),
        "quality": _pairs({name: f"{value:.4g}" for name, value in manifest.quality.items()}),
        "privacy": _privacy(manifest),
        "digest": bundle.digest[:_DIGEST_CHARS],
        "made from": manifest.parent[:_DIGEST_CHARS] if manifest.parent else "",
    }
    for name, value in facts.items():
        if value:
            table.add_row(name, _cell(value))
    return table


def _state(manifest: Manifest) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("state tensor", overflow="fold")
    table.add_column("shape", overflow="fold")
    table.add_column("role", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for tensor in manifest.state:
        size = 4 * math.prod(tensor.shape)
        table.add_row(_cell(tensor.name), str(list(tensor.shape)), tensor.role, _size(size))
    return table


def _files(manifest: Manifest) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("SHA-256 starts", no_wrap=True)
    for name, entry in sorted(manifest.files.items()):
        table.add_row(_cell(name), _size(entry.size), entry.sha256[:_DIGEST_CHARS])
    return table


def _labels(manifest: Manifest) -> str:
    if not manifest.labels:
        return f"up to {manifest.ways}, taught on the device"
    shown = ", ".join(manifest.labels[:_MAX_LABELS_SHOWN])
    more = len(manifest.labels) - _MAX_LABELS_SHOWN
    named = f"{shown} and {more} more" if more > 0 else shown
    return f"{named} (of up to {manifest.ways})"


def _privacy(manifest: Manifest) -> str:
    """The guarantee that the bundle claims, with what it rests on; empty where it claims none."""
    claim = manifest.provenance.get("privacy")
    if not isinstance(claim, dict):
        return ""
    names = ("epsilon", "delta", "rho", "unit", "relation", "sampling", "noise", "rounds")
    shown = ", ".join(f"{name} {claim[name]}" for name in names if name in claim)
    rests = claim.get("assumptions")
    given = "; ".join(map(str, rests)) if isinstance(rests, list) else ""
    return f"{shown}; if {given}" if given else shown


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _rows(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(['n', *map(str, shape)])}]"


def _size(size_bytes: int) -> str:
    if size_bytes < 1024:
        return f"{size_bytes} B"
    if size_bytes < 1024**2:
        return f"{size_bytes / 1024:.1f} KiB"
    return f"{size_bytes / 1024**2:.1f} MiB"


def _cell(value: str, style: str = "") -> Text:
    """Return text as it stands: no markup, and no control characters from a stranger's bundle."""
    return Text("".join(c if c.isprintable() else "?" for c in value), style=style)
