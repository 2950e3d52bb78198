"""Start processes, and stop them with everything they started, on every way out.

Flower's SuperLink and SuperNodes start processes of their own, one of them in a session of its own,
so a process group is not enough: each child inherits a random mark in its environment, and stopping
ends when no live process carries the mark. Linux reads it from /proc; elsewhere only the groups are
ended, and Flower's own watch on its parent ends the rest within a second.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from federated.errors import DeploymentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MARK_NAME = "EDGE_SDK_DEPLOYMENT"

GRACE_S = 3.0
"""Between asking a process to end and killing it."""
_KILL_S = 10.0
_PROC = Path("/proc")


class ProcessSet:
    """Processes that live no longer than this context manager.

    Attributes:
        mark: The value of `MARK_NAME` in the environment of all of them.
        logs: Folder that receives `<name>.log` with the output of each.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self.logs = logs
        self.mark = secrets.token_hex(16)
        self._environment = {**environment, MARK_NAME: self.mark}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start `command` in the background, in a process group of its own.

        Its output is added to what its log holds; a name whose process has ended can be used again.

        Raises:
            DeploymentError: The program cannot be started.
        """
        with (self.logs / f"{name}.log").open("ab") as log:
            try:
                self._running[name] = subprocess.Popen(  # noqa: S603 - our own command lines
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    start_new_session=True,
                )
            except OSError as error:
                msg = f"{command[0]} cannot be started; install edge-sdk[federated]"
                raise DeploymentError(msg) from error

    def run(self, name: str, command: Sequence[str], *, timeout_s: float) -> str:
        """Run `command` to its end and return its standard output.

        Raises:
            DeploymentError: It failed, or took longer than `timeout_s` seconds.
        """
        with (self.logs / f"{name}.log").open("ab") as log:
            try:
                done = subprocess.run(  # noqa: S603 - our own command lines
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=self._environment,
                    timeout=timeout_s,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                msg = f"{name} did not run to its end in {timeout_s:g} s; {self.log_tail(name)}"
                raise DeploymentError(msg) from error
            log.write(done.stdout)
        if done.returncode != 0:
            msg = f"{name} ended with status {done.returncode}; {self.log_tail(name)}"
            raise DeploymentError(msg)
        return done.stdout.decode("utf-8", "replace")

    def check_running(self) -> None:
        """Raise `DeploymentError` if a background process has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                msg = f"{name} ended with status {process.returncode}; {self.log_tail(name)}"
                raise DeploymentError(msg)

    def exit_status(self, name: str) -> int | None:
        """The status that a background process ended with; None while it runs."""
        return self._running[name].poll()

    def log_tail(self, name: str, num_lines: int = 12) -> str:
        """Where a process's log is, and its last lines, for an error message."""
        path = self.logs / f"{name}.log"
        lines = (
            path.read_text("utf-8", "replace").splitlines()[-num_lines:] if path.exists() else []
        )
        return "\n  ".join([f"the end of {path}:", *lines])

    def stop(self) -> None:
        """End all processes and their children: ask first, then kill. Safe to call twice.

        In the main thread, SIGINT and SIGTERM wait until it is done, so that a second Ctrl-C
        leaves nothing either.

        Raises:
            DeploymentError: A process is still there; the message has its id.
        """
        with _undisturbed():
            self._stop()

    def _stop(self) -> None:
        for process in self._running.values():
            _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        for process in self._running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()
        end_marked(self.mark)


def end_on_sigterm() -> None:
    """Let a SIGTERM end this process as Ctrl-C does, so that what it started is stopped."""

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


def end_marked(mark: str, *, grace_s: float = 0.0) -> None:
    """End all other processes whose environment carries `mark`.

    Args:
        mark: See `ProcessSet`.
        grace_s: Ask them first, and kill what is left after so many seconds; 0 kills at once.

    Raises:
        DeploymentError: A process is still there; the message has its id.
    """

    def others() -> list[int]:
        return [pid for pid in marked_processes(mark) if pid != os.getpid()]

    if grace_s > 0:
        for pid in others():
            _signal(pid, signal.SIGTERM)
    kill_at = time.monotonic() + grace_s
    clear = 0  # a process has no environment for a moment while it starts: look twice
    while clear < 2:
        left, now = others(), time.monotonic()
        clear = 0 if left else clear + 1
        if left and now > kill_at + _KILL_S:
            msg = f"processes {left} do not end; end them by hand"
            raise DeploymentError(msg)
        for pid in left if now >= kill_at else ():
            _signal(pid, signal.SIGKILL)
        time.sleep(0.05)


def marked_processes(mark: str) -> list[int]:
    """Ids of the live processes whose environment carries `mark`; empty where there is no /proc."""
    wanted = f"{MARK_NAME}={mark}".encode()
    found = []
    for entry in _PROC.glob("[0-9]*") if _PROC.is_dir() else ():
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # it ended meanwhile, or belongs to another user
            continue
        if wanted in environment.split(b"\0"):
            found.append(int(entry.name))
    return sorted(found)


@contextmanager
def _undisturbed() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _: received.append(got))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if received:
            signal.raise_signal(received[0])


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
