"""Killed at any moment, the record of accepted versions is whole and holds what was promised."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.accepted import RECORD_NAME, Accepted, AcceptedVersions
from edge_sdk.errors import OlderBundleError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

NUM_KILLS = 20
MAX_DELAY_S = 0.03

# Accepts one version after another and prints each when it is on the disk.
WORKER = """
import sys
from edge_sdk.accepted import Accepted, AcceptedVersions
version = int(sys.argv[2])
while True:
    AcceptedVersions(sys.argv[1]).accept("a", Accepted(version=version, digest="ab" * 32))
    print(version, flush=True)
    version += 1
"""

# The same without a rename: the record is overwritten in place, a byte at a time.
TORN = """
import os
from pathlib import Path
from edge_sdk import accepted

def overwrite(self, bundles):
    with open(self._home / accepted.RECORD_NAME, "wb", buffering=0) as file:
        for byte in accepted._encode(bundles):
            file.write(bytes([byte]))
        os.fsync(file.fileno())

accepted.AcceptedVersions._write = overwrite
"""


def kill_one(code: str, home: Path, start: int, delay_s: float) -> int:
    """Run a worker, kill it a moment after its first commit; the last version it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", code, home, str(start)], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert int(worker.stdout.readline()) == start
        time.sleep(delay_s)
        worker.kill()
        rest = re.findall(r"(\d+)\n", worker.stdout.read())
    return int(rest[-1]) if rest else start


def stored(home: Path) -> int:
    """The version in the record; the file's own check runs on the way."""
    record = AcceptedVersions(home)
    record.check("other", Accepted(version=1, digest="ab" * 32))
    found = re.search(r'"version": (\d+)', (home / RECORD_NAME).read_text())
    assert found is not None
    return int(found[1])


def test_twenty_kills_lose_no_acknowledged_version(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    version = total = 0
    for _ in range(NUM_KILLS):
        acknowledged = kill_one(WORKER, tmp_path, version + 1, rng.uniform(0, MAX_DELAY_S))
        assert stored(tmp_path) in {acknowledged, acknowledged + 1}
        with pytest.raises(OlderBundleError):
            AcceptedVersions(tmp_path).check("a", Accepted(version=version or 1, digest="cd" * 32))
        total += acknowledged - version
        version = stored(tmp_path)
    assert total > NUM_KILLS


def test_a_record_overwritten_in_place_is_found_torn(tmp_path: Path) -> None:
    """The control: without the rename the same kills do leave damage, and it is noticed."""
    rng = np.random.default_rng(7)

    def kill_many() -> None:
        for attempt in range(NUM_KILLS):
            home = tmp_path / str(attempt)
            kill_one(TORN + WORKER, home, 1, rng.uniform(0, MAX_DELAY_S))
            stored(home)

    with pytest.raises(StoreError, match="damaged"):
        kill_many()
