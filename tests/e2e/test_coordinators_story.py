"""The coordinator's story in the README, its commands as they stand there, in an empty folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_sdk import open_bundle
from federated.flower_app import free_ports
from federated.run_log.reader import find_log, read_log
from tests.arch.import_graph import ROOT
from tests.support.live_processes import MARK, marked

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("cryptography", reason="needs the extra secure")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="what is left is looked up in /proc"),
]

README_PORT = 9092
TIMEOUT_S = 600.0
END_S = 30.0


def commands() -> str:
    """The first block of the README's part for coordinators."""
    text = (ROOT / "README.md").read_text("utf-8")
    part = text.partition("## Federated rounds, as a coordinator\n")[2]
    found = re.search(r"```sh\n(.*?)```", part, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """Is in the environment of all that the story starts; nothing of it is there afterwards."""
    name = str(tmp_path)
    yield name
    for pid in marked(name):
        os.kill(pid, signal.SIGKILL)


def test_the_story_has_fewer_than_ten_commands() -> None:
    lines = commands().replace("\\\n", "").splitlines()
    assert 1 <= len(lines) < 10, lines


def test_the_commands_of_the_readme_end_in_five_rounds_and_a_report(
    tmp_path: Path, mark: str
) -> None:
    (port,) = free_ports(1)  # another run on this machine may have the usual one
    story = commands().replace(f"localhost:{README_PORT}", f"localhost:{port}")
    story = story.replace("federated init", f"federated init --set deployment.port={port}")
    assert story.count(str(port)) == 2
    folder = tmp_path / "empty"
    folder.mkdir()
    done = subprocess.run(
        ["/bin/bash", "-c", story],
        cwd=folder,
        env={
            **os.environ,
            MARK: mark,
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    said = done.stdout
    assert "Completed: 5 of 5 rounds." in said, said
    assert "The candidate is promoted." in said
    assert "Traceback" not in said
    run = read_log(find_log(folder / "next-bundle"))
    assert [(e.num_accepted, e.num_asked) for e in run.rounds] == [(4, 4)] * 5
    assert run.evaluation is not None
    assert run.evaluation.num_accepted == 4
    new, old = open_bundle(folder / "next-bundle"), open_bundle(folder / "bundle")
    assert new.manifest.parent == old.digest
    assert "5 of 5 rounds" in (folder / "report.html").read_text("utf-8")

    deadline = time.monotonic() + END_S
    while marked(mark):
        assert time.monotonic() < deadline, "the devices do not end"
        time.sleep(0.1)
