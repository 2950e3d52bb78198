"""Who may take part: each client's identity key, as an authority that is not the coordinator says.

Members check the keys of a session against their own copy of the roster. The coordinator can leave
members out of a group; it cannot put a key of its own in a member's place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from edge_sdk import ed25519
from edge_sdk.durable import write_new
from edge_sdk.errors import InvalidOptionError, SignatureError
from edge_sdk.paths import as_path
from federated.client_id import check_client_id

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from edge_sdk.signing import SigningKey

_DOMAIN = b"edge-sdk roster 1\n"
_MAX_BYTES = 1 << 26
_LINE = re.compile(rb"([A-Za-z0-9._-]{1,128}) ([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Roster:
    """Identity keys by client id.

    Attributes:
        keys: Ed25519 public keys, 32 bytes each, all different.

    Raises:
        InvalidOptionError: An id or key is not valid, or a key is there twice.
    """

    keys: Mapping[str, bytes]

    def __post_init__(self) -> None:
        for client_id, key in self.keys.items():
            check_client_id(client_id)
            ed25519.check_public_key(key)
        if len(set(self.keys.values())) != len(self.keys):
            msg = "two clients of the roster have the same key; each needs its own"
            raise InvalidOptionError(msg)
        object.__setattr__(self, "keys", dict(self.keys))  # what was checked stays

    def write(self, path: str | os.PathLike[str], authority: SigningKey) -> None:
        """Write a roster file, signed by the authority that enrols clients.

        Raises:
            InvalidOptionError: The file exists or cannot be written.
        """
        lines = [f"{client_id} {key.hex()}\n" for client_id, key in sorted(self.keys.items())]
        body = "".join(lines).encode("ascii")
        target = as_path(path, name="path")
        try:
            write_new(target, authority.sign(_DOMAIN + body) + body, mode=0o644)
        except OSError as error:
            msg = f"the roster cannot be written to {target.name}: {error.strerror}"
            raise InvalidOptionError(msg) from error

    @classmethod
    def read(cls, path: str | os.PathLike[str], authority: bytes) -> Self:
        """Read a roster file that the pinned authority signed; nothing is parsed before that.

        Args:
            path: The file.
            authority: The authority's public key, 32 bytes.

        Raises:
            SignatureError: Another key signed it, or it was changed afterwards.
            InvalidOptionError: The file cannot be read, or what was signed is no roster.
        """
        source = as_path(path, name="path")
        try:
            with source.open("rb") as file:
                raw = file.read(_MAX_BYTES)
        except OSError as error:
            msg = f"the roster {source.name} cannot be read: {error.strerror}"
            raise InvalidOptionError(msg) from error
        signature, body = raw[: ed25519.SIGNATURE_BYTES], raw[ed25519.SIGNATURE_BYTES :]
        if not ed25519.verify(ed25519.check_public_key(authority), signature, _DOMAIN + body):
            msg = f"{source.name} is not signed by the pinned authority; fetch the genuine roster"
            raise SignatureError(msg)
        return cls(_parse(body))


def _parse(body: bytes) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(body.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or match[1].decode("ascii") in keys:
            msg = f"line {number} of the roster is not a new client id and its key in hex"
            raise InvalidOptionError(msg)
        keys[match[1].decode("ascii")] = bytes.fromhex(match[2].decode("ascii"))
    return keys
