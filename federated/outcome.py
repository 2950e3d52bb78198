"""What a run leaves behind, written so that a server killed in between can end what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk import open_bundle
from edge_sdk.errors import InvalidOptionError
from federated.next_bundle import write_next_bundle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sdk import Bundle
    from federated.next_bundle import RunSummary
    from federated.rounds.records import Tensors


def write_once(
    out: str, base: Bundle, shared: Tensors, summary: RunSummary, quality: Mapping[str, float]
) -> str:
    """Write the new bundle, unless this run did before it was killed; returns its digest.

    Raises:
        InvalidOptionError: There is a bundle that does not come from `base`.
        NothingLearnedError: No update was used in any round of a run without noise.
    """
    if not Path(out).exists():
        return write_next_bundle(out, base, shared, summary, quality)
    written = open_bundle(out)
    if written.manifest.parent != base.digest:
        msg = "the folder of the new bundle holds one that is not of this run; name another"
        raise InvalidOptionError(msg)
    return written.digest


def write_report(path: str, report: Mapping[str, object]) -> None:
    """Write a run's report as a whole; once it is there the run is over."""
    partial = Path(path + ".partial")
    partial.write_text(json.dumps(report, indent=1, sort_keys=True), encoding="utf-8")
    partial.replace(path)
