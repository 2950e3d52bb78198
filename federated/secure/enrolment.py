"""Node configs for masked rounds: each device with its own identity key, all with one roster."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from federated.secure.options import MaskingOptions
    from federated.settings import ClientSettings


def enrolled(
    clients: Iterable[ClientSettings], masking: MaskingOptions, identities: Path | None
) -> list[ClientSettings]:
    """The clients with what masked rounds need.

    Args:
        clients: As they are for rounds without masks.
        masking: Names the roster and its authority.
        identities: Folder with each client's identity key, NAME.pem.

    Raises:
        InvalidOptionError: A client has no key there.
    """
    found = []
    for client in clients:
        key = None if identities is None else identities / f"{client.client_id}.pem"
        if key is None or not key.is_file():
            msg = f"masked rounds need {client.client_id}.pem in the folder of identity keys"
            raise InvalidOptionError(msg)
        found.append(
            replace(
                client,
                identity_key=str(key.resolve()),
                roster=masking.roster,
                authority=masking.authority,
            )
        )
    return found
