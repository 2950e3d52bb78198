"""Which devices may join: a device's key, the client it speaks for, and what was revoked.

The roster is the coordinator's own file. `serve` makes the SuperLink's list of nodes follow it, so
that devices are registered and revoked whether the SuperLink runs or not, and a lost database loses
no registration. A revoked key is never taken again: Flower refuses it, and so do we.
"""

from __future__ import annotations

import fcntl
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_sdk.durable import write_new
from edge_sdk.errors import InvalidOptionError
from federated.client_id import check_client_id
from federated.errors import DeploymentError
from federated.service.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Roster:
    """The devices that may join, and those that may not any more.

    Attributes:
        clients: Public key (PEM, SubjectPublicKeyInfo) by client id.
        revoked: Public keys that were revoked.
    """

    clients: dict[str, str] = field(default_factory=dict)
    revoked: tuple[str, ...] = ()


def make_keys(path: Path) -> Path:
    """Make a device's key pair: `path` for the device alone, and the public key beside it.

    Args:
        path: File of the private key; must not exist.

    Returns:
        The public key's file (`.pub`), which the coordinator registers.

    Raises:
        InvalidOptionError: A file exists or cannot be written.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    public = path.with_name(path.name + ".pub")
    private_bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,  # what a SuperNode reads
        serialization.NoEncryption(),
    )
    public_bytes = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_new(path, private_bytes)
        write_new(public, public_bytes + b"\n", mode=0o644)
    except FileExistsError as error:
        msg = f"{error.filename} exists; name another file, or remove it if no device uses it"
        raise InvalidOptionError(msg) from error
    except OSError as error:
        msg = f"the keys cannot be written: {error.strerror}"
        raise InvalidOptionError(msg) from error
    return public


def read_public_key(path: Path) -> str:
    """A device's public key as PEM.

    Raises:
        InvalidOptionError: The file cannot be read, or holds no public key that `make_keys` makes.
    """
    try:
        key = serialization.load_ssh_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        msg = f"{path} holds no public key of a device; make one with: edge-sdk federated keys"
        raise InvalidOptionError(msg) from error
    if not (
        isinstance(key, ec.EllipticCurvePublicKey)
        and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1)
    ):
        msg = f"{path} holds a key of another kind; make one with: edge-sdk federated keys"
        raise InvalidOptionError(msg)
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def check_private_key(path: Path) -> None:
    """Refuse a file that holds no private key that `make_keys` makes.

    Raises:
        InvalidOptionError: What to do about it.
    """
    try:
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        msg = f"{path} holds no private key of a device; make one with: edge-sdk federated keys"
        raise InvalidOptionError(msg) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        msg = f"{path} holds a key of another kind; make one with: edge-sdk federated keys"
        raise InvalidOptionError(msg)


def read_roster(path: Path) -> Roster:
    """The roster in `path`; an empty one where there is no file.

    Raises:
        DeploymentError: The file is damaged.
    """
    try:
        content = json.loads(path.read_bytes())
        whole = (
            set(content) == {"format", "clients", "revoked"}
            and content["format"] == FORMAT
            and isinstance(content["revoked"], list)
            and all(isinstance(text, str) for text in content["revoked"])
            and all(isinstance(text, str) for text in content["clients"].values())
        )
    except FileNotFoundError:
        return Roster()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DeploymentError(_damaged(path)) from error
    if not whole:
        raise DeploymentError(_damaged(path))
    return Roster(clients=content["clients"], revoked=tuple(content["revoked"]))


def register(path: Path, client_id: str, public_key: str) -> None:
    """Let the device with `public_key` speak for `client_id`.

    Raises:
        InvalidOptionError: The id is not valid or has a device already, or the key was revoked or
            is another client's.
        DeploymentError: The roster is damaged or cannot be written.
    """
    check_client_id(client_id)
    with _changing(path) as roster:
        if roster.clients.get(client_id) == public_key:
            return
        if public_key in roster.revoked:
            msg = "this key was revoked, which is for good; make a new one on the device"
            raise InvalidOptionError(msg)
        if public_key in roster.clients.values():
            msg = "this key is another client's; each device has a key of its own"
            raise InvalidOptionError(msg)
        if client_id in roster.clients:
            msg = f"{client_id} has a device; revoke it first (edge-sdk federated revoke)"
            raise InvalidOptionError(msg)
        _write(path, {**roster.clients, client_id: public_key}, roster.revoked)


def revoke(path: Path, client_id: str) -> None:
    """Take the device of `client_id` off the roster; its key is never taken again.

    Raises:
        InvalidOptionError: No device is registered for it.
        DeploymentError: The roster is damaged or cannot be written.
    """
    with _changing(path) as roster:
        if client_id not in roster.clients:
            msg = f"no device is registered for {client_id!r}"
            raise InvalidOptionError(msg)
        left = {name: key for name, key in roster.clients.items() if name != client_id}
        _write(path, left, (*roster.revoked, roster.clients[client_id]))


@contextmanager
def _changing(path: Path) -> Iterator[Roster]:
    """The roster as it is, while no other process changes it."""
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield read_roster(path)


def _damaged(path: Path) -> str:
    return f"{path} is damaged or of another version; restore it, or register the devices again"


def _write(path: Path, clients: dict[str, str], revoked: tuple[str, ...]) -> None:
    content = {"format": FORMAT, "clients": clients, "revoked": list(revoked)}
    replace_file(path, json.dumps(content, indent=1, sort_keys=True).encode())
