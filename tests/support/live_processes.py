"""Finds live processes of this machine by what is in their environment (Linux)."""

from __future__ import annotations

from pathlib import Path

MARK = "EDGE_SDK_TEST"
"""A variable that a test sets in the environment of what it starts, so as to find all of it."""


def marked(mark: str, command: str = "") -> list[int]:
    """Live processes that carry the mark and whose command line holds `command`."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            ours = wanted in (entry / "environ").read_bytes().split(b"\0")
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if ours and command in line:
            found.append(int(entry.name))
    return found
