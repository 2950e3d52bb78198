"""Reads a run log, of a run that has ended or of one that is being written."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from federated.errors import RunLogError, RunNotBegunError
from federated.evaluation.run import EvaluationReport
from federated.run_log.records import (
    FILE_NAME,
    FORMAT,
    SUFFIX,
    RoundEntry,
    RunAbout,
    RunRecord,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def find_log(run: Path) -> Path:
    """The log of a run that is named by its log, by the folder that holds it, or by its bundle.

    A driver that writes the new bundle to OUT writes its log to `OUT.run.jsonl`; a fleet writes
    both into one folder.

    Raises:
        RunNotBegunError: There is none.
    """
    beside = run.with_name(run.name + SUFFIX)
    for path in (run / FILE_NAME, beside, run):
        if path.is_file():
            return path
    msg = f"there is no run log at {run}, {beside.name} or {FILE_NAME} in it; is the run begun?"
    raise RunNotBegunError(msg)


def read_log(path: Path) -> RunRecord:
    """Read a log. A last line that is torn, or being written, is left out.

    Raises:
        RunNotBegunError: No line of it is whole.
        RunLogError: It cannot be read, is of a newer format, or is damaged before its last line.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            alive = not lock(file, shared=True)  # given back as the file is closed
            content = path.read_bytes()
        finally:
            os.close(file)
    except OSError as error:
        msg = f"{path.name} cannot be read: {error.strerror}"
        raise RunLogError(msg) from error
    return parse_log(content[: content.rfind(b"\n") + 1], alive=alive)


def parse_log(content: bytes, *, alive: bool) -> RunRecord:
    """Read whole lines.

    Of several runs in one file (one that could not be resumed was begun anew) the last one counts;
    of several lines of one round, too.

    Args:
        content: The file, without a torn last line.
        alive: Whether a process has it open for writing.

    Raises:
        RunNotBegunError: There is no run in it.
        RunLogError: A line is none of this format.
    """
    begin: Mapping[str, Any] = {}
    end: Mapping[str, Any] = {}
    rounds: dict[int, RoundEntry] = {}
    about: RunAbout | None = None
    evaluation: EvaluationReport | None = None
    num_resumed = 0
    for number, text in enumerate(content.splitlines(), 1):
        try:
            line = json.loads(text)
            kind = line["kind"]
            if kind in ("run", "resumed"):
                _check_format(line)
                about, end = RunAbout.read(line), {}
            if kind == "run":
                begin, rounds, evaluation, num_resumed = line, {}, None, 0
            elif kind == "resumed":
                kept = int(line["next_round"])
                rounds = {n: entry for n, entry in rounds.items() if n < kept}
                evaluation = None
                num_resumed += 1
            elif kind == "round":
                entry = RoundEntry.read(line)
                rounds[entry.server_round] = entry
            elif kind == "evaluation":
                evaluation = EvaluationReport.read(line)
            elif kind == "end":
                end = line
                Status(line["status"])
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            msg = f"line {number} of the run log is damaged, or of another format"
            raise RunLogError(msg) from error
    if about is None or not begin:
        msg = "the run log holds no run yet"
        raise RunNotBegunError(msg)
    return RunRecord(
        about=about,
        status=_status(end, alive=alive),
        started_at=str(begin["at"]),
        ended_at=str(end["at"]) if end else None,
        num_resumed=num_resumed,
        rounds=tuple(rounds[number] for number in sorted(rounds)),
        evaluation=evaluation,
        end=end,
    )


def lock(file: int, *, shared: bool = False) -> bool:
    """Lock a log for its one writer, or see whether there is one; False where there is.

    Where the system has no such locks (Windows) nobody is seen: a log without an end counts as
    interrupted there.
    """
    try:
        import fcntl  # noqa: PLC0415  (POSIX alone has it; the package imports without)
    except ModuleNotFoundError:  # pragma: no cover
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_format(line: Mapping[str, Any]) -> None:
    if line["format"] != FORMAT:
        msg = f"the run log is of format {line['format']}, this version reads {FORMAT}"
        raise RunLogError(msg)


def _status(end: Mapping[str, Any], *, alive: bool) -> Status:
    if end:
        return Status(end["status"])
    return Status.RUNNING if alive else Status.INTERRUPTED
