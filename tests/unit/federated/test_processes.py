from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from federated.errors import DeploymentError
from federated.processes import MARK_NAME, ProcessSet, end_marked, marked_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLEEP = "import time; time.sleep(60)"
# A child that ignores SIGTERM and starts a grandchild in a session of its own, as a SuperLink does.
STUBBORN = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
print("ready", flush=True)
time.sleep(60)
"""

# A child that sends its parent a Ctrl-C when it is asked to end.
NAG = """
import os, signal, sys, time
def nag(*_):
    os.kill(int(sys.argv[1]), signal.SIGINT)
    raise SystemExit
signal.signal(signal.SIGTERM, nag)
print("ready", flush=True)
time.sleep(60)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the check reads /proc")


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what a starting process has yet to do: its environment shows only after exec."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for(log: Path, text: str) -> None:
    wait_until(lambda: text in log.read_text())


def test_nothing_is_left_of_a_family_that_ignores_the_signal(tmp_path: Path) -> None:
    with ProcessSet(tmp_path, os.environ) as processes:
        processes.start("stubborn", [sys.executable, "-c", STUBBORN])
        processes.start("obedient", [sys.executable, "-c", SLEEP])
        wait_for(tmp_path / "stubborn.log", "ready")
        wait_until(lambda: len(marked_processes(processes.mark)) == 3)
    assert marked_processes(processes.mark) == []


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where a shell started the tests in the background with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_interrupt_waits_until_everything_is_stopped(tmp_path: Path) -> None:
    processes = ProcessSet(tmp_path, os.environ)
    processes.start("sleeper", [sys.executable, "-c", SLEEP])
    processes.start("nagger", [sys.executable, "-c", NAG, str(os.getpid())])
    wait_for(tmp_path / "nagger.log", "ready")
    with pytest.raises(KeyboardInterrupt):
        processes.stop()  # asks the nagger to end, and it answers with a Ctrl-C of its own
    assert marked_processes(processes.mark) == []


def test_an_error_inside_stops_everything(tmp_path: Path) -> None:
    def fail_inside(processes: ProcessSet) -> None:
        with processes:
            processes.start("sleeper", [sys.executable, "-c", SLEEP])
            wait_until(lambda: len(marked_processes(processes.mark)) == 1)
            raise KeyboardInterrupt

    processes = ProcessSet(tmp_path, os.environ)
    with pytest.raises(KeyboardInterrupt):
        fail_inside(processes)
    assert marked_processes(processes.mark) == []


def test_other_processes_are_not_touched(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as bystander:
        with ProcessSet(tmp_path, os.environ) as processes:
            processes.start("sleeper", [sys.executable, "-c", SLEEP])
        assert bystander.poll() is None
        bystander.kill()


def test_a_process_that_ended_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with ProcessSet(tmp_path, os.environ) as processes:
        lose = "print('out of luck', flush=True); raise SystemExit(3)"
        processes.start("loser", [sys.executable, "-c", lose])
        wait_for(tmp_path / "loser.log", "luck")
        time.sleep(1)
        with pytest.raises(DeploymentError, match=r"loser ended with status 3(.|\n)*out of luck"):
            processes.check_running()


def test_a_command_gives_its_output_or_an_error(tmp_path: Path) -> None:
    with ProcessSet(tmp_path, os.environ) as processes:
        out = processes.run("good", [sys.executable, "-c", "print(6 * 7)"], timeout_s=30)
        assert out == "42\n"
        with pytest.raises(DeploymentError, match="bad ended with status 1"):
            processes.run("bad", [sys.executable, "-c", "raise SystemExit(1)"], timeout_s=30)
        with pytest.raises(DeploymentError, match=r"slow did not run to its end in 0\.2 s"):
            processes.run("slow", [sys.executable, "-c", SLEEP], timeout_s=0.2)
        with pytest.raises(DeploymentError, match="cannot be started"):
            processes.start("absent", [str(tmp_path / "no-such-program")])


def test_what_a_killed_parent_started_is_ended_whether_it_wants_or_not() -> None:
    mark = "a-mark-of-this-test"
    environment = {**os.environ, MARK_NAME: mark}
    stubborn = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], env=environment, stdout=subprocess.PIPE
    )
    assert stubborn.stdout is not None
    with stubborn.stdout as said:
        assert said.readline() == b"ready\n"
    reaper = threading.Thread(target=stubborn.wait)  # else it stays as a zombie, unmarked
    reaper.start()
    assert len(marked_processes(mark)) == 2
    end_marked(mark, grace_s=0.2)
    reaper.join(10)
    assert stubborn.returncode == -signal.SIGKILL
    assert marked_processes(mark) == []
