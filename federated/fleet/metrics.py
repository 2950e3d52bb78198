"""What a run writes as it goes: a JSON object a line, so that what is cut off can be read."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from federated.fleet.driver import VisitReport
    from federated.fleet.scoring import Score
    from federated.round_core import RoundReport


class MetricsFile:
    """Appends lines to a new file.

    Raises:
        FileExistsError: There is one of this name.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("x", encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        """Write one line; it is there when this returns, should the process then end."""
        json.dump(line, self._file, sort_keys=True, allow_nan=False)
        self._file.write("\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def round_line(
    report: RoundReport, visits: VisitReport, scores: dict[str, Score], cpu_s: float
) -> dict[str, Any]:
    """One round; all but "cpu_s" is the same in every run of the same config."""
    return {
        "kind": "round",
        **asdict(report),
        "fleet": asdict(visits),
        "scores": {name: asdict(score) for name, score in scores.items()},
        "cpu_s": round(cpu_s, 4),
    }
