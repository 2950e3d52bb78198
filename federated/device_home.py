"""What a device holds for rounds: the coordinator's bundle, and its user's home."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk import FileKeyStore, open_bundle
from edge_sdk.errors import BadUpdateError

if TYPE_CHECKING:
    from edge_sdk import Bundle, KeyStore
    from federated.settings import ClientSettings


def held_bundle(settings: ClientSettings, digest: str, *, asked: str = "the round is on") -> Bundle:
    """Open this device's bundle.

    Args:
        settings: Of this device.
        digest: Of the bundle that the server speaks of.
        asked: How a message begins that says what is about another one.

    Raises:
        BadUpdateError: This device holds another bundle.
        EdgeError: As `open_bundle`.
    """
    bundle = open_bundle(settings.bundle)
    if bundle.digest != digest:
        msg = f"{asked} another bundle than this device holds; update the device's bundle"
        raise BadUpdateError(msg)
    return bundle


def home_key(settings: ClientSettings, key: KeyStore | None) -> KeyStore | None:
    """Where the home's key is: at `key`, else in the file that the settings name, if any."""
    if key is None and settings.key_file:
        return FileKeyStore(settings.key_file)
    return key
