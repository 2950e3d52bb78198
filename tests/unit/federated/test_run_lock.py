from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from federated import run_lock
from federated.errors import CheckpointError
from federated.run_lock import hold_run, is_held

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from federated.run_lock import hold_run
with hold_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_is_held_by_one_process_and_let_go_when_it_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "new" / "out.checkpoint"
    monkeypatch.setattr(run_lock, "_WAIT_S", 0.1)
    assert not is_held(checkpoint)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(checkpoint)], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert is_held(checkpoint)
        with pytest.raises(CheckpointError, match="another process"), hold_run(checkpoint):
            pass
        other.kill()
    assert not is_held(checkpoint)
    with hold_run(checkpoint):
        pass
