"""One server process at a time on a run: who holds the lock is alive, and alone."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from federated.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

_WAIT_S = 10.0
_POLL_S = 0.1


@contextmanager
def hold_run(checkpoint: Path) -> Iterator[None]:
    """Hold the lock of the run that `checkpoint` belongs to; the system frees it with the process.

    Raises:
        CheckpointError: Another process holds it, or it cannot be made.
    """
    deadline = time.monotonic() + _WAIT_S
    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        file = _path(checkpoint).open("w")
    except OSError as error:
        msg = f"the lock of the run cannot be made: {error.strerror}"
        raise CheckpointError(msg) from error
    with file:
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                msg = "another process runs these rounds; wait for it, or end it"
                raise CheckpointError(msg)
            time.sleep(_POLL_S)
        yield


def is_held(checkpoint: Path) -> bool:
    """Whether a process holds the lock now."""
    try:
        with _path(checkpoint).open("r+") as file:
            return not _try_lock(file)
    except FileNotFoundError:
        return False


def _path(checkpoint: Path) -> Path:
    return checkpoint.with_name(checkpoint.name + ".lock")


def _try_lock(file: IO[str]) -> bool:
    import fcntl  # noqa: PLC0415  (POSIX alone has it; the package imports without)

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
