"""Runs a coordinator's rounds: a SuperLink that devices join, and what runs the ServerApp.

What dies is started again, a bounded number of times: the SuperLink on its database, the ServerApp
from its checkpoint. However the service itself ends, its processes end with it, and the same config
goes on where it stopped.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_sdk.errors import InvalidOptionError
from federated.errors import DeploymentError
from federated.flower_app import flower_environment, write_app
from federated.preflight import check_budget, check_bundle
from federated.processes import ProcessSet
from federated.registered_nodes import encode_nodes
from federated.run_lock import hold_run, is_held
from federated.service.certificates import ensure_certificates
from federated.service.control import Control, SuperLinkUnreachableError
from federated.service.files import DeploymentFiles, new_secret, replace_file
from federated.service.flower_process import TOKEN_OPTION
from federated.service.restarts import Restarts
from federated.service.roster import read_roster
from federated.settings import checkpoint_path, refusal_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from federated.service.config import CoordinatorConfig, DeploymentOptions

SUPERLINK, SUPEREXEC = "superlink", "superexec"
PROGRAM = (sys.executable, "-m", "federated.service.flower_process")

_POLL_S = 0.5
_PORT_S = 5.0
_CONNECT_S = 60.0
_BEGIN_S = 120.0
"""From the start of a run until its ServerApp holds the run's lock."""
_END_S = 5.0
"""From the end of a ServerApp's process until Flower has been told how the run ended."""


def serve(config: CoordinatorConfig, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the rounds of `config` to their end.

    Args:
        config: All that the coordinator sets.
        say: Called with one line for each thing that happens.

    Returns:
        The report that the ServerApp writes.

    Raises:
        InvalidOptionError: The config asks for what cannot be.
        BadBundleError: The bundle cannot be read.
        BudgetExhaustedError: The privacy budget does not allow the rounds.
        DeploymentError: A process could not be started or died too often, the rounds were refused,
            or another service uses the folder; the message has the end of the log.

    However it ends, no process is left, and the checkpoint of an interrupted run is.
    """
    files = DeploymentFiles.of(config.deployment)
    with hold_run(files.folder / "service"):
        _prepare(config, files)
        _wait_for_free_port(config.deployment)
        environment = flower_environment(files.flower_home)
        with (
            ProcessSet(files.logs, environment) as processes,
            Control(files, config.deployment) as control,
        ):
            return _Service(config, files, processes, control, say).run()


def _prepare(config: CoordinatorConfig, files: DeploymentFiles) -> None:
    server = config.server
    check_bundle(Path(server.bundle))
    interrupted = checkpoint_path(server).exists()
    if Path(server.out).exists() and not interrupted:
        msg = f"server: out {server.out} exists; name a folder that does not, or remove it"
        raise InvalidOptionError(msg)
    users = sorted(read_roster(files.roster).clients)
    if config.privacy is not None and users and not interrupted:
        ledger = Path(server.ledger)
        check_budget(config.privacy, ledger, config.rounds, users, config.evaluation)
    ensure_certificates(files, config.deployment)
    for folder in (files.logs, files.flower_home, Path(server.report).parent):
        folder.mkdir(parents=True, exist_ok=True)
    for secret in (files.control_token, files.task_secret):
        if not secret.exists():
            new_secret(secret)
    for stale in (Path(server.report), refusal_path(server)):
        stale.unlink(missing_ok=True)
    replace_file(files.nodes, encode_nodes({}))
    write_app(files.folder / "app", config.run_config())


def _wait_for_free_port(options: DeploymentOptions) -> None:
    """Wait while the SuperLink of a service that was killed ends.

    Raises:
        DeploymentError: Another program listens at the port, or the address is not of this host.
    """
    address = ipaddress.ip_address(options.host)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    deadline = time.monotonic() + _PORT_S
    while True:
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((options.host, options.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                msg = (
                    f"the service cannot listen at {options.host}, port {options.port}: "
                    f"{error.strerror}; set host and port in [deployment], or end what uses it"
                )
                raise DeploymentError(msg) from error
            time.sleep(_POLL_S)
        else:
            return


class _Service:
    """The processes of one `serve`, and the run that they work on."""

    def __init__(
        self,
        config: CoordinatorConfig,
        files: DeploymentFiles,
        processes: ProcessSet,
        control: Control,
        say: Callable[[str], None],
    ) -> None:
        self._config, self._files = config, files
        self._processes, self._control, self._say = processes, control, say
        self._checkpoint = checkpoint_path(config.server)
        options = config.deployment
        self._restarts = Restarts(options.restarts, options.restart_window_s)
        self._roster_seen: tuple[int, int] | None = None
        self._run_id: int | None = None
        self._lock_seen = False
        self._since = 0.0

    def run(self) -> dict[str, Any]:
        """Supervise until the run is complete."""
        self._start_superlink()
        self._start_superexec()
        self._say(f"devices join at port {self._config.deployment.port}")
        while True:
            self._revive()
            try:
                self._follow_roster()
                if self._run_id is None:
                    self._begin()
                elif self._is_complete(self._run_id):
                    report: dict[str, Any] = json.loads(
                        Path(self._config.server.report).read_text("utf-8")
                    )
                    return report
            except SuperLinkUnreachableError:
                pass  # it starts, or has died, which `_revive` sees
            time.sleep(_POLL_S)

    def _start_superlink(self) -> None:
        options, files = self._config.deployment, self._files
        self._processes.start(
            SUPERLINK,
            [
                *PROGRAM,
                SUPERLINK,
                *("--host", options.host, "--port", str(options.port)),
                *("--ssl-ca-certfile", str(files.authority)),
                *("--ssl-certfile", str(files.certificate)),
                *("--ssl-keyfile", str(files.certificate_key)),
                *("--database", str(files.database), "--enable-supernode-auth"),
                *("--isolation", "process", "--superexec-auth-secret-file", str(files.task_secret)),
                *(TOKEN_OPTION, str(files.control_token)),
                "--disable-runtime-dependency-installation",
            ],
        )
        self._roster_seen = None
        deadline = time.monotonic() + _CONNECT_S
        while not self._listens():
            if self._processes.exit_status(SUPERLINK) is not None or time.monotonic() > deadline:
                return  # `_revive` starts it again, or gives up
            time.sleep(_POLL_S)

    def _listens(self) -> bool:
        options = self._config.deployment
        try:
            socket.create_connection((options.local_host, options.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _start_superexec(self) -> None:
        self._processes.start(
            SUPEREXEC,
            [
                *PROGRAM,
                SUPEREXEC,
                *("--runtime-api-address", self._config.deployment.local_address),
                *("--root-certificates", str(self._files.authority)),
                *("--superexec-auth-secret-file", str(self._files.task_secret)),
                *("--parent-pid", str(os.getpid())),
            ],
        )

    def _revive(self) -> None:
        """Start again what has died."""
        for name, start in ((SUPERLINK, self._start_superlink), (SUPEREXEC, self._start_superexec)):
            status = self._processes.exit_status(name)
            if status is not None:
                self._say(f"the {name} ended with status {status}; it is started again")
                self._restarts.pause(f"{name} ended; {self._processes.log_tail(name)}")
                start()

    def _follow_roster(self) -> None:
        """Make the SuperLink's nodes those of the roster, when that has changed."""
        try:
            status = self._files.roster.stat()
            seen = (status.st_ino, status.st_mtime_ns)  # each change is another file
        except FileNotFoundError:
            seen = (0, 0)
        if seen == self._roster_seen:
            return
        wanted = {key: name for name, key in read_roster(self._files.roster).clients.items()}
        there = self._control.nodes()
        for key in there.keys() - wanted.keys():
            self._control.unregister(there.pop(key))
            self._say("a device is revoked")
        for key in wanted.keys() - there.keys():
            there[key] = self._control.register(wanted[key], key)
        clients = {node: wanted[key] for key, node in there.items()}
        replace_file(self._files.nodes, encode_nodes(clients))
        self._say(f"registered devices: {len(clients)}")
        self._roster_seen = seen

    def _begin(self) -> None:
        """Start a run; what an earlier one left is ended, and its checkpoint is gone on from."""
        for left in self._control.unfinished_runs():
            self._control.stop_run(left)
        self._run_id = self._control.start_run(self._files.folder / "app")
        self._lock_seen, self._since = False, time.monotonic()
        going_on = self._checkpoint.exists()
        what = "the rounds go on from their checkpoint" if going_on else "the rounds begin"
        wanted = self._config.server.min_clients
        self._say(f"{what}, once enough devices are there (min_clients = {wanted})")

    def _is_complete(self, run_id: int) -> bool:
        """Whether the run has come to its end; one that died is forgotten, to be begun again."""
        if is_held(self._checkpoint):
            self._lock_seen, self._since = True, time.monotonic()
            return False
        if Path(self._config.server.report).exists():
            return True  # the last that a ServerApp writes, whatever becomes of its process then
        refusal = refusal_path(self._config.server)
        if refusal.exists():
            msg = f"the rounds are refused: {refusal.read_text('utf-8')}"
            raise DeploymentError(msg)
        status = self._control.run_status(run_id)
        patience = _END_S if self._lock_seen else _BEGIN_S
        if not status.finished and time.monotonic() - self._since < patience:
            return False
        why = status.details or "its process is gone"
        self._say(f"the ServerApp has ended before its time: {why}")
        self._restarts.pause(f"the ServerApp ended; {self._processes.log_tail(SUPERLINK, 30)}")
        self._run_id = None
        return False
