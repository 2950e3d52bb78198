"""What the store's blobs hold: checksums, and the header of a generation. No database, no key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from edge_sdk.errors import StoreDamagedError


@dataclass(frozen=True, slots=True)
class Header:
    """What a generation of the personal state is.

    Attributes:
        bundle_digest: The bundle that it was adapted with; empty where that is not known.
        ids: The examples that it was adapted on, ascending.
        names: What its first slots mean, in slot order.
    """

    bundle_digest: str
    ids: tuple[int, ...]
    names: tuple[str, ...]


def digest(*parts: object) -> bytes:
    """SHA-256 of strings and bytes and their lengths; damage may have made other types of them."""
    result = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        result.update(len(data).to_bytes(8, "little") + data)
    return result.digest()


def encode_header(header: Header) -> bytes:
    """The header as canonical JSON."""
    fields = {
        "bundle_digest": header.bundle_digest,
        "ids": header.ids,
        "names": header.names,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def decode_header(data: bytes) -> Header:
    """Read what `encode_header` wrote.

    Raises:
        StoreDamagedError: It did not.
    """
    try:
        fields = json.loads(data)
        return Header(
            str(fields["bundle_digest"]),
            tuple(int(example_id) for example_id in fields["ids"]),
            tuple(str(name) for name in fields["names"]),
        )
    except (ValueError, TypeError, KeyError):  # their texts would show labels
        msg = "a generation's header cannot be read"
        raise StoreDamagedError(msg) from None
