"""A Flower run's settings: run config and node config, read and written here only.

Flower sends the run config to every client too, so it holds nothing secret; a node config stays on
its node.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edge_sdk.errors import InvalidOptionError
from federated.client_id import check_client_id
from federated.compress.coded_update import UpdateCode
from federated.evaluation.options import EvaluationOptions
from federated.privacy.options import PrivacyOptions
from federated.round_core import RoundOptions
from federated.secure.options import MaskingOptions
from federated.secure.session import MIN_MEMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    Scalar = str | int | float
    _Settings = TypeVar(
        "_Settings",
        "ClientSettings",
        "ServerSettings",
        RoundOptions,
        PrivacyOptions,
        MaskingOptions,
        EvaluationOptions,
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

_MASKING = "masking-"
"""The same of secure aggregation; without any of them the server sees each update."""

_EVALUATION = "evaluation-"
"""The same of the judging of the candidate; without any of them it is promoted as it is."""


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
        identity_key: File with the device's private identity key (PEM), for masked rounds.
        roster: File with the identity keys of all clients, from where the coordinator cannot change
            them. A device that has one takes part in masked rounds only.
        authority: File with the public key of the authority that signed the roster (PEM).
        min_members: Least number of members of a group whose sum this device is in.
        min_noise_multiplier: Least noise of a masked round that this device is in, over what its
            own update changes in the sum; 0 takes part without noise too. Only distributed noise
            counts: what a server adds, a device cannot see.
        local_epsilon: The device's own privacy budget, kept in its home: it takes part only in
            rounds with local noise, until the budget is spent. 0 has none.
        local_delta: Of that budget, in (0, 1).
    """

    client_id: str
    bundle: str
    home: str
    key_file: str = ""
    consent_id: str = ""
    identity_key: str = ""
    roster: str = ""
    authority: str = ""
    min_members: int = 3
    min_noise_multiplier: float = 0.0
    local_epsilon: float = 0.0
    local_delta: float = 1e-5

    def __post_init__(self) -> None:
        check_client_id(self.client_id)
        if not (self.bundle and self.home):
            msg = "a client needs a bundle and a home"
            raise InvalidOptionError(msg)
        if self.min_members < MIN_MEMBERS:
            msg = f"min_members must be >= {MIN_MEMBERS}, got {self.min_members}"
            raise InvalidOptionError(msg)
        if not (0 <= self.local_epsilon < math.inf and 0 < self.local_delta < 1):
            msg = "local_epsilon must be finite and >= 0, and local_delta in (0, 1)"
            raise InvalidOptionError(msg)
        if not (math.isfinite(self.min_noise_multiplier) and self.min_noise_multiplier >= 0):
            msg = f"min_noise_multiplier must be finite and >= 0, got {self.min_noise_multiplier}"
            raise InvalidOptionError(msg)


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
        update_bits: 8 or 16: devices round their updates to so many bits, and carry what that takes
            to their next one; 0 sends float32. For rounds without masks.
        update_keep: Share of an update's entries that is sent, the largest, in (0, 1].
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
    update_bits: int = 0
    update_keep: float = 1.0

    def __post_init__(self) -> None:
        if self.min_clients < 1:
            msg = f"min_clients must be >= 1, got {self.min_clients}"
            raise InvalidOptionError(msg)
        UpdateCode(bits=self.update_bits, keep=self.update_keep)
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


def encode_client_settings(settings: ClientSettings) -> dict[str, Scalar]:
    """Write a node config: dashes for underscores, what is as by default left out."""
    values = asdict(settings)
    return {
        field.name.replace("_", "-"): values[field.name]
        for field in fields(ClientSettings)
        if values[field.name] != field.default
    }


def decode_client_settings(config: Mapping[str, object]) -> ClientSettings:
    """Read a node config; raise `InvalidOptionError` where it does not fit."""
    return _decode(ClientSettings, config, what="node config")


def encode_run_config(
    settings: ServerSettings,
    options: RoundOptions,
    privacy: PrivacyOptions | None = None,
    *,
    masking: MaskingOptions | None = None,
    evaluation: EvaluationOptions | None = None,
) -> dict[str, Scalar]:
    """Write all as one flat run config: dashes for underscores, None left out."""
    values = asdict(settings) | asdict(options)
    config = {name.replace("_", "-"): value for name, value in values.items() if value is not None}
    sections = ((_PRIVACY, privacy), (_MASKING, masking), (_EVALUATION, evaluation))
    for prefix, section in sections:
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


def decode_masking(config: Mapping[str, object]) -> MaskingOptions | None:
    """Read a run config's section on secure aggregation; None where there is none.

    Raises:
        InvalidOptionError: As `decode_privacy`.
    """
    return _decode_section(MaskingOptions, config, _MASKING)


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


def _decode(
    cls: type[_Settings],
    config: Mapping[str, object],
    prefix: str = "",
    *,
    what: str = "run config",
) -> _Settings:
    values: dict[str, Any] = {}
    for field in fields(cls):
        key = prefix + field.name.replace("_", "-")
        if key not in config and field.default is not MISSING:
            continue
        value, kind = config.get(key), _KINDS[str(field.type)]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:  # bool is an int, and not one here
            msg = f"the {what}'s {key!r} must be of type {kind.__name__}"
            raise InvalidOptionError(msg)
        values[field.name] = value
    return cls(**values)
