"""Everything a coordinator sets, as one TOML file that is read strictly.

The sections are the settings of the run itself, so that there is one place for each:

[server]      federated.settings.ServerSettings: bundle, files, who must be there, deadlines
[rounds]      federated.round_core.RoundOptions
[privacy]     federated.privacy.options.PrivacyOptions; its presence makes the rounds private
[masking]     federated.secure.options.MaskingOptions; its presence hides single updates
[evaluation]  federated.evaluation.options.EvaluationOptions; its presence lets devices judge
[deployment]  DeploymentOptions, below

What is left out has its default; paths are relative to the file. `default_config` writes one.
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge_sdk.errors import InvalidOptionError
from federated.evaluation.options import EvaluationOptions  # noqa: TC001, as the next
from federated.excluded import check_together
from federated.privacy.options import PrivacyOptions  # noqa: TC001, read by get_type_hints
from federated.round_core import RoundOptions
from federated.secure.options import MaskingOptions  # noqa: TC001, as the next
from federated.settings import SERVER_PATHS, ServerSettings, encode_run_config
from federated.strict_toml import build, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SERVER_DEFAULTS: Mapping[str, str | float] = {
    "bundle": "bundle",
    "out": "next-bundle",
    "report": "report.json",
    "join_deadline_s": 600.0,
    "round_deadline_s": 600.0,
}
"""Of a service, where they differ from those of `ServerSettings`, or where that has none."""

LEDGER = "privacy.ledger"
"""Default of `ledger` in `[server]` where rounds are private."""

NODES_NAME = "nodes.json"
"""File in the deployment's folder: which client each node was registered for."""

_DNS_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}\.?)+")


@dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentOptions:
    """The SuperLink and what it keeps.

    Attributes:
        folder: Folder of its certificates, secrets, database, roster of nodes and logs.
        host: Address to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for all.
        port: Port that devices connect to, 1 to 65535.
        names: Host names and addresses under which devices reach it; they go into its certificate,
            beside localhost, 127.0.0.1 and `host`.
        certificate_days: How long a server certificate is valid, days.
        restarts: How many times within `restart_window_s` what died is started again before the
            service gives up.
        restart_window_s: Seconds.
    """

    folder: str = "deployment"
    host: str = "127.0.0.1"
    port: int = 9092
    names: tuple[str, ...] = ()
    certificate_days: int = 365
    restarts: int = 5
    restart_window_s: float = 600.0

    def __post_init__(self) -> None:
        try:
            ipaddress.ip_address(self.host)
        except ValueError as error:
            msg = f"host must be an address to listen on, such as 127.0.0.1, got {self.host!r}"
            raise InvalidOptionError(msg) from error
        for name, value, least, most in (
            ("port", self.port, 1, 65535),
            ("certificate_days", self.certificate_days, 1, 3650),
            ("restarts", self.restarts, 0, 1000),
        ):
            if not least <= value <= most:
                msg = f"{name} must be in {least}..{most}, got {value}"
                raise InvalidOptionError(msg)
        if not (math.isfinite(self.restart_window_s) and self.restart_window_s > 0):
            msg = f"restart_window_s must be finite and > 0, got {self.restart_window_s}"
            raise InvalidOptionError(msg)
        for name in self.names:
            if not (_is_address(name) or _DNS_NAME.fullmatch(name)):
                msg = f"names holds {name!r}, which is neither a host name nor an address"
                raise InvalidOptionError(msg)

    @property
    def local_host(self) -> str:
        """The address at which processes of this machine reach the SuperLink."""
        address = ipaddress.ip_address(self.host)
        if not address.is_unspecified:
            return self.host
        return "127.0.0.1" if address.version == 4 else "::1"

    @property
    def local_address(self) -> str:
        """The same, with the port."""
        host = self.local_host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CoordinatorConfig:
    """The whole file, with absolute paths.

    Attributes:
        server: Files, who must be there, deadlines.
        rounds: The rounds.
        privacy: Makes them private; None: no noise.
        masking: Hides single updates from the server; None: it sees each.
        evaluation: How devices judge the candidate before it is promoted; None: they do not.
        deployment: The SuperLink.
    """

    server: ServerSettings
    rounds: RoundOptions = field(default_factory=RoundOptions)
    privacy: PrivacyOptions | None = None
    masking: MaskingOptions | None = None
    evaluation: EvaluationOptions | None = None
    deployment: DeploymentOptions = field(default_factory=DeploymentOptions)

    def __post_init__(self) -> None:
        judged = self.evaluation is not None
        check_together(self.server, self.rounds, self.privacy, self.masking, judged=judged)

    def run_config(self) -> dict[str, str | int | float]:
        """What the ServerApp is given."""
        return encode_run_config(
            self.server,
            self.rounds,
            self.privacy,
            masking=self.masking,
            evaluation=self.evaluation,
        )


def read_config(path: Path) -> CoordinatorConfig:
    """Read a coordinator's file.

    Raises:
        InvalidOptionError: It is missing or not TOML, or a key or value is not allowed; the message
            names the section, the key and what would be.
    """
    try:
        content = read_table(path)
    except FileNotFoundError as error:
        msg = f"there is no {path}; write one with: edge-sdk federated init {path}"
        raise InvalidOptionError(msg) from error
    return parse_config(content, path.name, path.parent)


def parse_config(content: Mapping[str, Any], where: str, base: Path) -> CoordinatorConfig:
    """Make a config of what a file holds.

    Args:
        content: The sections.
        where: The file's name, for messages.
        base: What relative paths are relative to.

    Raises:
        InvalidOptionError: As `read_config`.
    """
    server = {**SERVER_DEFAULTS, **_table(content, "server", where)}
    if "nodes" in server:
        msg = f"{where}: server: nodes is written by the service; remove it"
        raise InvalidOptionError(msg)
    if "privacy" in content:
        server["ledger"] = server.get("ledger") or LEDGER
    deployment = {"folder": "deployment", **_table(content, "deployment", where)}
    masking = _table(content, "masking", where)
    base = base.resolve()
    for table, names in (
        (server, SERVER_PATHS),
        (masking, {"roster", "authority"}),
        (deployment, {"folder"}),
    ):
        for name in names & set(table):
            value = table[name]
            if isinstance(value, str) and value:
                table[name] = str(base / value)
    server["nodes"] = f"{deployment['folder']}/{NODES_NAME}"
    sections = {**content, "server": server, "deployment": deployment}
    if "masking" in content:
        sections["masking"] = masking
    return build(CoordinatorConfig, sections, where)


def _table(content: Mapping[str, Any], name: str, where: str) -> dict[str, object]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        msg = f"{where}: {name} must be a table"
        raise InvalidOptionError(msg)
    return table


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
