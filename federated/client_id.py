"""The stable id of a user, by which rounds, rosters and ledgers tell users apart."""

from __future__ import annotations

import re

from edge_sdk.errors import InvalidOptionError

_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def check_client_id(client_id: str) -> str:
    """Return `client_id` if it is a valid one, else raise `InvalidOptionError`."""
    if not _CLIENT_ID.fullmatch(client_id):
        msg = "a client id must be 1 to 128 characters of A-Z a-z 0-9 . _ -"
        raise InvalidOptionError(msg)
    return client_id
