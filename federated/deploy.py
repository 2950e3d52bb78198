"""Run federated rounds with real Flower processes on this machine: one SuperLink, N SuperNodes.

All of them listen on loopback only, without TLS, on free ports, in a Flower home of their own that
is removed afterwards. Nothing of Flower is installed, reported or looked up outside.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_sdk.errors import InvalidOptionError
from federated.errors import DeploymentError
from federated.flower_app import HOST, flower_environment, free_ports, toml, write_app
from federated.preflight import check_budget, check_bundle
from federated.processes import ProcessSet
from federated.secure.enrolment import enrolled
from federated.secure.options import check_masking
from federated.settings import (
    ClientSettings,
    ServerSettings,
    encode_client_settings,
    encode_run_config,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federated.evaluation.options import EvaluationOptions
    from federated.privacy.options import PrivacyOptions
    from federated.round_core import RoundOptions
    from federated.secure.options import MaskingOptions

_CONNECTION = "loopback"
_POLL_S = 0.2
_FIRST_STATUS_S, _LAST_STATUS_S = 5.0, 40.0
_COMMAND_S = 60.0
_START_S = 60.0

_CONNECTIONS = """\
[superlink]
default = "{name}"

[superlink.{name}]
address = "{address}"
insecure = true
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeployOptions:
    """How the processes are run.

    Attributes:
        join_deadline_s: How long the server waits for all SuperNodes, seconds.
        round_deadline_s: When a round closes at the latest, seconds.
        run_deadline_s: When the whole run is given up, seconds.
        min_replies: Updates that close a round early; 0 waits for the whole cohort.
        environment: Variables to add to the environment of every process.
        masking: Makes the rounds masked; all devices then check the same roster.
        identities: Folder with each client's identity key, NAME.pem; needed with `masking`.
    """

    join_deadline_s: float = 120.0
    round_deadline_s: float = 120.0
    run_deadline_s: float = 3600.0
    min_replies: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    masking: MaskingOptions | None = None
    identities: Path | None = None


def run_on_loopback(
    bundle: Path,
    homes: Sequence[Path],
    out: Path,
    rounds: RoundOptions,
    deploy: DeployOptions | None = None,
    *,
    privacy: PrivacyOptions | None = None,
    ledger: Path | None = None,
    evaluation: EvaluationOptions | None = None,
) -> dict[str, Any]:
    """Start a SuperLink and one SuperNode a home, run the rounds, stop everything.

    Args:
        bundle: The bundle that all users hold.
        homes: `Personalizer` homes; a folder's name is the client's id.
        out: Folder of the new bundle; must not exist.
        rounds: The rounds to run.
        deploy: Deadlines and environment.
        privacy: Makes the rounds private; the server's process opens the ledger.
        ledger: File with what these users have spent; needed with `privacy`.
        evaluation: How devices judge the candidate before it is promoted; None: they do not.

    Returns:
        The report that `federated.server_app` writes.

    Raises:
        InvalidOptionError: There is no home, two have one name, `out` exists, or the bundle has
            nothing that may leave a device.
        BudgetExhaustedError: The privacy budget does not allow these rounds; none is run.
        BadBundleError: The bundle cannot be read.
        DeploymentError: A process could not be started or failed, or the run took too long; its
            message names the folder that keeps the logs.

    However it ends, no process is left.
    """
    deploy = deploy or DeployOptions()
    clients = _clients(bundle, homes)
    if deploy.masking is not None:
        check_masking(deploy.masking, rounds, privacy)
        clients = enrolled(clients, deploy.masking, deploy.identities)
    check_bundle(bundle)
    if out.exists():
        msg = f"{out} exists; name a folder that does not, or remove it"
        raise InvalidOptionError(msg)
    if privacy is not None:
        users = [client.client_id for client in clients]
        check_budget(privacy, ledger, rounds, users, evaluation)
    work = Path(tempfile.mkdtemp(prefix="edge-sdk-flower-"))
    try:
        settings = ServerSettings(
            bundle=str(bundle.resolve()),
            out=str(out.resolve()),
            report=str(work / "report.json"),
            min_clients=len(clients),
            join_deadline_s=deploy.join_deadline_s,
            round_deadline_s=deploy.round_deadline_s,
            min_replies=deploy.min_replies,
            ledger="" if ledger is None else str(ledger.resolve()),
        )
        config = encode_run_config(
            settings, rounds, privacy, masking=deploy.masking, evaluation=evaluation
        )
        report = _run(work, clients, settings.report, config, deploy)
    except DeploymentError:
        raise  # keeps the logs that its message names
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
    return report


def _run(
    work: Path,
    clients: Sequence[ClientSettings],
    report_file: str,
    run_config: Mapping[str, str | float],
    deploy: DeployOptions,
) -> dict[str, Any]:
    link_port, *node_ports = free_ports(1 + len(clients))
    link = f"{HOST}:{link_port}"
    home, app, logs = work / "flwr", work / "app", work / "logs"
    for folder in (home, logs):
        folder.mkdir()
    (home / "config.toml").write_text(_CONNECTIONS.format(name=_CONNECTION, address=link), "utf-8")
    write_app(app, run_config)
    programs = Path(sys.executable).parent
    environment = {**flower_environment(home), **deploy.environment}
    with ProcessSet(logs, environment) as processes:
        processes.start(
            "superlink",
            [
                str(programs / "flower-superlink"),
                *("--insecure", "--host", HOST, "--port", str(link_port)),
                "--disable-runtime-dependency-installation",
            ],
        )
        for client, port in zip(clients, node_ports, strict=True):
            processes.start(
                f"supernode-{client.client_id}",
                [
                    str(programs / "flower-supernode"),
                    *("--insecure", "--superlink", link, "--host", HOST, "--port", str(port)),
                    *("--node-config", toml(encode_client_settings(client), " ")),
                ],
            )
        _wait_for_port(processes, link_port)
        flwr = str(programs / "flwr")
        submit = [flwr, "run", str(app), _CONNECTION, "--format", "json"]
        run_id = _ask_flower(processes, "flwr-run", submit)["run-id"]
        report = Path(report_file)
        _wait_for_run(processes, flwr, str(run_id), report, deploy.run_deadline_s)
        answer: dict[str, Any] = json.loads(report.read_text("utf-8"))
        return answer


def _clients(bundle: Path, homes: Sequence[Path]) -> list[ClientSettings]:
    if not homes:
        msg = "there is no home to run a client on; teach at least one user first"
        raise InvalidOptionError(msg)
    if len({home.name for home in homes}) != len(homes):
        msg = "two homes have the same name, which is the client's id; rename one"
        raise InvalidOptionError(msg)
    return [
        ClientSettings(client_id=home.name, bundle=str(bundle.resolve()), home=str(home.resolve()))
        for home in sorted(homes)
    ]


def _wait_for_port(processes: ProcessSet, port: int) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        processes.check_running()
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                msg = f"the SuperLink does not answer; {processes.log_tail('superlink')}"
                raise DeploymentError(msg) from None
            time.sleep(_POLL_S)
        else:
            return


def _wait_for_run(
    processes: ProcessSet, flwr: str, run_id: str, report: Path, deadline_s: float
) -> None:
    """Return when the run is finished; raise `DeploymentError` if it failed or takes too long.

    Asking Flower costs a second of CPU, so it is asked when the report is there, and now and then.
    """
    command = [flwr, "list", _CONNECTION, "--run-id", run_id, "--format", "json"]
    started = time.monotonic()
    pause_s = _FIRST_STATUS_S
    ask_at = started + pause_s
    while True:
        processes.check_running()
        if report.exists() or time.monotonic() >= ask_at:
            run = _ask_flower(processes, "flwr-list", command)["runs"][0]
            if run["status"] == "finished:completed":
                return
            if run["status"].startswith("finished"):
                tail = processes.log_tail("superlink", 40)
                msg = f"the run failed ({run['status-details']}); {tail}"
                raise DeploymentError(msg)
            pause_s = min(2 * pause_s, _LAST_STATUS_S)
            ask_at = time.monotonic() + pause_s
        if time.monotonic() - started > deadline_s:
            msg = f"the run did not end in {deadline_s:g} s; {processes.log_tail('superlink')}"
            raise DeploymentError(msg)
        time.sleep(_POLL_S)


def _ask_flower(processes: ProcessSet, name: str, command: Sequence[str]) -> dict[str, Any]:
    """Run a `flwr` command that answers in JSON; raise `DeploymentError` where it refuses."""
    try:
        answer: dict[str, Any] = json.loads(processes.run(name, command, timeout_s=_COMMAND_S))
    except ValueError as error:
        msg = f"{name} did not answer in JSON; {processes.log_tail(name)}"
        raise DeploymentError(msg) from error
    if not answer.get("success"):
        reason = str(answer.get("error-message", "no reason given")).strip()
        msg = f"{name} is refused: {reason}; {processes.log_tail('superlink')}"
        raise DeploymentError(msg)
    return answer
