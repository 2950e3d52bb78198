"""Which client a node was registered for, where nodes prove with a key who they are.

`serve` writes the file when it registers the coordinator's roster with the SuperLink; the ServerApp
reads it before it believes what a node says of its user.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from federated.errors import DeploymentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federated.settings import ServerSettings


def encode_nodes(clients: Mapping[int, str]) -> bytes:
    """The file's content: client id by node id."""
    named = {str(node): client for node, client in clients.items()}
    return json.dumps(named, indent=1, sort_keys=True).encode()


def speaks_for(node: int, client_id: str, settings: ServerSettings) -> bool:
    """Whether a node may say that it is `client_id`; any may where nodes are not registered.

    Raises:
        DeploymentError: The file cannot be read.
    """
    if not settings.nodes:
        return True
    try:
        named = json.loads(Path(settings.nodes).read_text("utf-8"))
        return bool(named.get(str(node)) == client_id)
    except (OSError, ValueError, AttributeError) as error:
        msg = "the file of registered nodes cannot be read; it is written by `federated serve`"
        raise DeploymentError(msg) from error
