"""The file that all of these benchmarks add their figures to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def add_figures(out: Path, *names: str, found: object) -> None:
    """Put `found` under `names`, one inside the other, in the JSON at `out`; the rest stays."""
    whole: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    place = whole
    for name in names[:-1]:
        place = place.setdefault(name, {})
    place[names[-1]] = found
    out.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
