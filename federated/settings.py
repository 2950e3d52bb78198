"""A Flower run's settings: run config and node config, read and written here only.

Flower sends the run config to every client too, so it holds nothing secret; a node config stays on
its node.
"""

from __future__ import annotations

import math
import re
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edge_sdk.errors import InvalidOptionError
from federated.evaluation.options import EvaluationOptions
from federated.privacy.options import PrivacyOptions
from federated.round_core import RoundOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    Scalar = str | int | float
    _Settings = TypeVar(
        "_Settings", "ServerSettings", RoundOptions, PrivacyOptions, EvaluationOptions
    )

_KINDS: dict[str, type[str | int | float]] = {
    "str": str,
    "int": int,
    "float": float,
    "int | None": int,
}

SERVER_PATHS = frozenset({"bundle", "out", "report", "ledger", "checkpoint", "nodes", "run_log"})
"""The fields of `ServerSettings` that name files or folders."""

_PRIVACY = "privacy-"
"""Begins the keys of a run config's section on privacy; without any of them no noise is added."""

_EVALUATION = "evaluation-"
"""The same of the judging of the candidate; without any of them it is promoted as it is."""

_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientSettings:
    """A SuperNode's own settings (its node config); they stay on the node.

    Attributes:
        client_id: Stable id of the node's user, `[A-Za-z0-9._-]`, at most 128 characters.
        bundle: The bundle's folder.
        home: The user's `Personalizer` home.
        key_file: File of the `FileKeyStore` with the home's key; empty for one that is not
            encrypted. A device whose key is elsewhere calls `client_app.take_part` with its own
            `KeyStore`.
        consent_id: The consent under which updates leave, for the audit log; empty for none.
    """

    client_id: str
    bundle: str
    home: str
    key_file: str = ""
    consent_id: str = ""

    def __post_init__(self) -> None:
        check_client_id(self.client_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """What the server of a run needs beside `RoundOptions`.

    Attributes:
        bundle: The bundle's folder.
        out: Folder of the new bundle; must not exist.
        report: File that receives the run's report as JSON.
        min_clients: Clients that must be online before the first round, at least 1.
        join_deadline_s: How long to wait for them, seconds.
        round_deadline_s: When a round closes at the latest, seconds.
        min_replies: Updates that close a round early; 0 waits for the whole cohort.
        ledger: File with what the population has spent; needed where rounds are private.
        checkpoint: File that is written after each round, and that an interrupted run goes on from;
            empty for `out` with `.checkpoint` added.
        nodes: File that names the client of each registered node, written by `serve`; a node that
            says it is another's takes no part. Empty where nodes are not authenticated.
        run_log: File that gets a line for each round (docs/RUN_LOG.md); empty for `out` with
            `.run.jsonl` added.
    """

    bundle: str
    out: str
    report: str
    min_clients: int = 1
    join_deadline_s: float = 60.0
    round_deadline_s: float = 60.0
    min_replies: int = 0
    ledger: str = ""
    checkpoint: str = ""
    nodes: str = ""
    run_log: str = ""

    def __post_init__(self) -> None:
        if self.min_clients < 1:
            msg = f"min_clients must be >= 1, got {self.min_clients}"
            raise InvalidOptionError(msg)
        if self.min_replies < 0:
            msg = f"min_replies must be >= 0, got {self.min_replies}"
            raise InvalidOptionError(msg)
        for name in ("join_deadline_s", "round_deadline_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                msg = f"{name} must be finite and > 0, got {value}"
                raise InvalidOptionError(msg)


def checkpoint_path(settings: ServerSettings) -> Path:
    """Where a run's checkpoint is."""
    return Path(settings.checkpoint or f"{settings.out}.checkpoint")


def refusal_path(settings: ServerSettings) -> Path:
    """Where the ServerApp says why it refuses the rounds: an error that comes again next time."""
    return Path(f"{settings.report}.refused")


def check_client_id(client_id: str) -> str:
    """Return `client_id` if it is a valid one, else raise `InvalidOptionError`."""
    if not _CLIENT_ID.fullmatch(client_id):
        msg = "a client id must be 1 to 128 characters of A-Z a-z 0-9 . _ -"
        raise InvalidOptionError(msg)
    return client_id


def encode_client_settings(settings: ClientSettings) -> dict[str, str]:
    """Write a node config."""
    optional = {"key-file": settings.key_file, "consent-id": settings.consent_id}
    return {
        "client-id": settings.client_id,
        "bundle": settings.bundle,
        "home": settings.home,
        **{name: value for name, value in optional.items() if value},
    }


def decode_client_settings(config: Mapping[str, object]) -> ClientSettings:
    """Read a node config; raise `InvalidOptionError` where it does not fit."""
    values = [config.get(key) for key in ("client-id", "bundle", "home")]
    client_id, bundle, home = (value if isinstance(value, str) else "" for value in values)
    if not (client_id and bundle and home):
        msg = "the node config must name client-id, bundle and home, each a non-empty string"
        raise InvalidOptionError(msg)
    optional = [config.get(key, "") for key in ("key-file", "consent-id")]
    if not all(isinstance(value, str) for value in optional):
        msg = "key-file and consent-id of the node config must be strings"
        raise InvalidOptionError(msg)
    key_file, consent_id = (str(value) for value in optional)
    return ClientSettings(
        client_id=client_id, bundle=bundle, home=home, key_file=key_file, consent_id=consent_id
    )


def encode_run_config(
    settings: ServerSettings,
    options: RoundOptions,
    privacy: PrivacyOptions | None = None,
    *,
    evaluation: EvaluationOptions | None = None,
) -> dict[str, Scalar]:
    """Write all as one flat run config: dashes for underscores, None left out."""
    values = asdict(settings) | asdict(options)
    config = {name.replace("_", "-"): value for name, value in values.items() if value is not None}
    for prefix, section in ((_PRIVACY, privacy), (_EVALUATION, evaluation)):
        if section is not None:
            config |= {prefix + name.replace("_", "-"): v for name, v in asdict(section).items()}
    return config


def decode_run_config(config: Mapping[str, object]) -> tuple[ServerSettings, RoundOptions]:
    """Read a run config.

    Raises:
        InvalidOptionError: A value is missing, has the wrong type, or is out of range.
    """
    return _decode(ServerSettings, config), _decode(RoundOptions, config)


def decode_privacy(config: Mapping[str, object]) -> PrivacyOptions | None:
    """Read a run config's section on privacy; None where there is none.

    Raises:
        InvalidOptionError: A key is unknown (a mistyped one would leave a default in force), has
            the wrong type, or is out of range.
    """
    return _decode_section(PrivacyOptions, config, _PRIVACY)


def decode_evaluation(config: Mapping[str, object]) -> EvaluationOptions | None:
    """Read a run config's section on the judging of the candidate; None where there is none.

    Raises:
        InvalidOptionError: As `decode_privacy`.
    """
    return _decode_section(EvaluationOptions, config, _EVALUATION)


def _decode_section(
    cls: type[_Settings], config: Mapping[str, object], prefix: str
) -> _Settings | None:
    section = {key for key in config if key.startswith(prefix)}
    if not section:
        return None
    unknown = section - {prefix + field.name.replace("_", "-") for field in fields(cls)}
    if unknown:
        msg = f"the run config's {sorted(unknown)} are not options of that section"
        raise InvalidOptionError(msg)
    return _decode(cls, config, prefix)


def _decode(cls: type[_Settings], config: Mapping[str, object], prefix: str = "") -> _Settings:
    values: dict[str, Any] = {}
    for field in fields(cls):
        key = prefix + field.name.replace("_", "-")
        if key not in config and field.default is not MISSING:
            continue
        value, kind = config.get(key), _KINDS[str(field.type)]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:  # bool is an int, and not one here
            msg = f"the run config's {key!r} must be of type {kind.__name__}"
            raise InvalidOptionError(msg)
        values[field.name] = value
    return cls(**values)
