"""Writes a run log: append-only, one line a round, on the disk before the next round begins.

A torn last line, of a process that was killed as it wrote, is cut off by the next writer; a resumed
run goes on in the same file.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from edge_sdk.durable import sync_folder
from edge_sdk.errors import EdgeError
from federated.errors import RunLogError
from federated.run_log.reader import lock, parse_log
from federated.run_log.records import FORMAT, Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from federated.evaluation.run import EvaluationReport
    from federated.rounds.records import RoundReport, RunState
    from federated.run_log.records import RunAbout, Traffic
    from federated.scores import Score


_TRIES, _PAUSE_S = 20, 0.05


class RunLog:
    """The writer of one run; use it in a `with` block, which writes how the run ended.

    Args:
        path: The log; one that is there is gone on with.
        about: The run.
        start: Where the run goes on from, if it does: rounds that it has behind it and that the log
            lacks are written from its reports.

    Raises:
        RunLogError: The log cannot be written, is not one, or another process writes it.
    """

    def __init__(self, path: Path, about: RunAbout, start: RunState | None = None) -> None:
        self._ended, self._last = False, time.monotonic()
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(path, flags, 0o600)
            try:
                self._begin(path, about, start)
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            if isinstance(error, RunLogError):
                raise
            msg = f"the run log cannot be written: {error.strerror}"
            raise RunLogError(msg) from error

    def __enter__(self) -> Self:
        """The log itself; its end is written with the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None and not self._ended:
                stopped = isinstance(error, (KeyboardInterrupt, SystemExit))
                status = Status.INTERRUPTED if stopped else Status.FAILED
                code = error.code if isinstance(error, EdgeError) else type(error).__name__
                self._write({"kind": "end", "status": status, "reason": code})
        finally:
            os.close(self._file)

    def round(
        self,
        report: RoundReport,
        *,
        traffic: Traffic | None = None,
        epsilon: float | None = None,
        evaluation: Mapping[str, Score] | None = None,
        lost: Mapping[str, int] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Write one round.

        Args:
            report: What the round core did.
            traffic: Bytes both ways.
            epsilon: Spent on these users so far.
            evaluation: Accuracy of people, by what was measured.
            lost: Devices that did not answer, by where they got lost.
            more: Figures that this driver alone has.
        """
        now = time.monotonic()
        wall_s = round(now - self._last, 3)
        self._last = now
        self._round(report, wall_s, traffic, epsilon, evaluation, lost, more)

    def evaluation(self, report: EvaluationReport, *, traffic: Traffic | None = None) -> None:
        """Write how the candidate was judged."""
        moved = None if traffic is None else asdict(traffic)
        self._write({"kind": "evaluation", **asdict(report), "traffic": moved})

    def complete(self, *, epsilon: float | None, **outcome: Any) -> None:
        """Write that the run has ended as it should.

        Args:
            epsilon: Spent on these users, now that all of it is.
            outcome: What came of it, such as the digest of the new bundle.
        """
        self._write({"kind": "end", "status": Status.COMPLETED, "epsilon": epsilon, **outcome})
        self._ended = True

    def _begin(self, path: Path, about: RunAbout, start: RunState | None) -> None:
        self._lock(path)
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # the last writer was cut off in the midst of a line
            os.ftruncate(self._file, whole)
        known = parse_log(content[:whole], alive=False) if whole else None
        same = known is not None and known.about.bundle_digest == about.bundle_digest
        line: dict[str, Any] = {"format": FORMAT, **about.as_json()}
        if start is None or not same:
            self._write({"kind": "run", **line})
        else:
            self._write({"kind": "resumed", "next_round": start.next_round, **line})
        sync_folder(path.parent)
        written = {e.server_round for e in known.rounds} if known is not None and same else set()
        for report in () if start is None else start.reports:
            if report.server_round not in written:
                self._round(report, None, None, None, None, None, None)

    def _lock(self, path: Path) -> None:
        """Be the one writer; a reader holds the lock for a moment only."""
        for _ in range(_TRIES):
            if lock(self._file):
                return
            time.sleep(_PAUSE_S)
        msg = f"another process writes {path.name}; wait for it, or stop it"
        raise RunLogError(msg)

    def _round(
        self,
        report: RoundReport,
        wall_s: float | None,
        traffic: Traffic | None,
        epsilon: float | None,
        evaluation: Mapping[str, Score] | None,
        lost: Mapping[str, int] | None,
        more: Mapping[str, Any] | None,
    ) -> None:
        scores = {name: asdict(found) for name, found in (evaluation or {}).items()}
        self._write(
            {
                "kind": "round",
                **asdict(report),
                "lost": {name: count for name, count in (lost or {}).items() if count},
                "traffic": None if traffic is None else asdict(traffic),
                "epsilon": epsilon,
                "evaluation": scores,
                "wall_s": wall_s,
                **(more or {}),
            }
        )

    def _write(self, line: Mapping[str, Any]) -> None:
        """Append one line; it is on the disk when this returns."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps({**line, "at": now}, allow_nan=False) + "\n"
        whole = os.fstat(self._file).st_size
        try:
            left = memoryview(text.encode())
            while left:  # a write may be cut short
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, whole)  # or the next line would be added to half of this one
            msg = f"the run log cannot be written: {error.strerror}"
            raise RunLogError(msg) from error
