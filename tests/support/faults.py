"""Runs a worker of `fault_worker` on a disk that fails (`faults.c`)."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHORT = -1
FAULTS = {
    "EIO once": (errno.EIO, False),
    "EIO from then on": (errno.EIO, True),
    "ENOSPC from then on": (errno.ENOSPC, True),
    "EINTR once": (errno.EINTR, False),
    "a short write": (SHORT, False),
}
"""What goes wrong: an errno (or half of a write), and whether it stays wrong."""


def build(folder: Path) -> Path:
    """Compile the library, or skip the test where nothing can."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler (cc)")
    library = folder / "faults.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-ldl"]
    subprocess.run([compiler, HERE / "faults.c", "-o", library, *flags], check=True)
    return library


def run_worker(library: Path, *arguments: str | Path) -> str:
    """What `fault_worker` prints; its failure is the test's."""
    from tests.support import fault_worker  # noqa: PLC0415 - for its path alone

    done = subprocess.run(
        [sys.executable, fault_worker.__file__, *arguments],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
