"""Runs one device's SuperNode: it joins a service, and is started again when it dies."""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk import open_bundle
from edge_sdk.errors import InvalidOptionError
from federated.errors import DeploymentError
from federated.flower_app import HOST, flower_environment, free_ports, toml
from federated.processes import ProcessSet
from federated.service.restarts import Restarts
from federated.service.roster import check_private_key
from federated.settings import encode_client_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from federated.settings import ClientSettings

_NAME = "supernode"
_POLL_S = 0.5
_RETRY_S = 5.0
_MOST_RESTARTS, _WINDOW_S = 20, 3600.0
_REFUSED = ("[code: 2001]", "[code: 2004]")  # registration is closed; activation failed
_CONNECT_S = 2.0
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinOptions:
    """How a device joins.

    Attributes:
        superlink: Host (or address) and port of the service, `host:port`.
        authority: Certificate of the service's authority (`ca.pem`).
        key: The device's private key (`edge-sdk federated keys`).
        client: The user, the bundle and the home.
        folder: What the device's processes keep: logs, and Flower's own files.
        patience_s: How long to try again where the service refuses the key. After a crash it does
            so for a minute, because it takes the device to be connected still.
    """

    superlink: str
    authority: Path
    key: Path
    client: ClientSettings
    folder: Path
    patience_s: float = 90.0


def join(options: JoinOptions, *, say: Callable[[str], None]) -> NoReturn:
    """Take part in a service's rounds until this process is ended.

    Args:
        options: Where, and as whom.
        say: Called with one line for each thing that happens.

    Raises:
        InvalidOptionError: A file is missing, or the address or the key is none.
        BadBundleError: The bundle cannot be read.
        DeploymentError: The service refuses the key, its certificate is not of the authority, or
            the SuperNode died too often; the message has the end of the log.

    However it ends, no process is left.
    """
    host, port = _check(options)
    logs, home = options.folder / "logs", options.folder / "flower"
    for folder in (logs, home):
        folder.mkdir(parents=True, exist_ok=True)
    restarts = Restarts(_MOST_RESTARTS, _WINDOW_S)
    log = logs / f"{_NAME}.log"
    refused_since: float | None = None
    with ProcessSet(logs, flower_environment(home)) as processes:
        while True:
            begin = log.stat().st_size if log.exists() else 0
            started = time.monotonic()
            processes.start(_NAME, _command(options))
            say(f"{options.client.client_id} joins {options.superlink}")
            if not _answers(host, port):
                say(f"{options.superlink} does not answer yet; it is tried until it does")
            while (status := processes.exit_status(_NAME)) is None:
                time.sleep(_POLL_S)
            with log.open("rb") as file:
                file.seek(begin)
                said = file.read().decode("utf-8", "replace")
            if _UNTRUSTED in said:
                msg = (
                    f"the certificate of {options.superlink} is not of the authority "
                    f"{options.authority}, or not for that name"
                )
                raise DeploymentError(msg)
            if not any(code in said for code in _REFUSED):
                refused_since = None
                say(f"the SuperNode ended with status {status}, see {log}; it is started again")
                restarts.pause(f"the SuperNode ended; {processes.log_tail(_NAME)}")
                continue
            refused_since = started if refused_since is None else refused_since
            if time.monotonic() - refused_since >= options.patience_s:
                msg = (
                    "the service refuses this device's key: it is not registered, or was revoked; "
                    f"the coordinator registers {options.key}.pub"
                )
                raise DeploymentError(msg)
            say("the service refuses this device's key for now; it is tried again")
            time.sleep(min(_RETRY_S, options.patience_s))


def _check(options: JoinOptions) -> tuple[str, int]:
    """Refuse what no SuperNode could work with; returns the host and the port of the service."""
    host, _, port = options.superlink.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        msg = f"the service is named as HOST:PORT, such as localhost:9092, not {options.superlink}"
        raise InvalidOptionError(msg)
    client = options.client
    for what, path in (
        ("certificate", options.authority),
        ("key", options.key),
        ("key of the home", client.key_file),
        ("identity key", client.identity_key),
        ("roster", client.roster),
        ("key of who signed the roster", client.authority),
    ):
        if path and not Path(path).is_file():
            msg = f"there is no {what} at {path}"
            raise InvalidOptionError(msg)
    for what, folder in (
        ("home; an app makes it when its user teaches", client.home),
        ("bundle; it is the one that the coordinator serves", client.bundle),
    ):
        if not Path(folder).is_dir():
            msg = f"{folder} is no {what}"
            raise InvalidOptionError(msg)
    check_private_key(options.key)
    open_bundle(client.bundle)
    return host.strip("[]"), int(port)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError:
        return False
    return True


def _command(options: JoinOptions) -> list[str]:
    (port,) = free_ports(1)
    return [
        *(sys.executable, "-m", "federated.service.flower_process", _NAME),
        *("--superlink", options.superlink, "--root-certificates", str(options.authority)),
        *("--auth-supernode-private-key", str(options.key)),
        *("--host", HOST, "--port", str(port)),
        *("--node-config", toml(encode_client_settings(options.client), " ")),
    ]
