"""Making keys and signing bundles: for the server and the release desk, never on a device."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Self

from edge_sdk import ed25519
from edge_sdk.bundle import open_bundle
from edge_sdk.durable import sync_folder, write_durably, write_new
from edge_sdk.errors import InvalidOptionError
from edge_sdk.manifest import SIGNATURE_NAME
from edge_sdk.paths import as_path
from edge_sdk.trust import TrustedKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from edge_sdk.bundle import Bundle


class SigningKey:
    """An Ed25519 private key. Its text form says nothing of the secret, and it cannot be pickled.

    Make one with `generate` or `read`.
    """

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Self:
        """Make a new key from the system's random numbers.

        Raises:
            MissingExtraError: `cryptography` is not installed.
        """
        return cls(ed25519.new_private_key())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read an unencrypted PEM file (PKCS #8).

        Raises:
            InvalidOptionError: The file cannot be read or holds no Ed25519 private key.
            MissingExtraError: `cryptography` is not installed.
        """
        return cls(ed25519.private_key_of_pem(ed25519.read_pem(path, "private")))

    @property
    def public_key(self) -> bytes:
        """The 32 bytes that devices trust."""
        return self._key.public_key().public_bytes_raw()

    def trusted(self, name: str) -> TrustedKey:
        """Return the public key under a name, valid on every day."""
        return TrustedKey(name=name, public_key=self.public_key)

    def sign(self, raw_manifest: bytes) -> bytes:
        """Return the 64 bytes of `manifest.sig`; the same bytes give the same signature."""
        return self._key.sign(raw_manifest)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the private key to `path` (mode 0600) and the public one beside it (`.pub`).

        Returns:
            The path of the public key.

        Raises:
            InvalidOptionError: One of the files exists, or cannot be written. What was written by
                then is removed.
        """
        private = as_path(path, name="path")
        public = private.with_name(f"{private.name}.pub")
        written: list[Path] = []
        try:
            for target, pem, mode in (
                (private, ed25519.private_key_to_pem(self._key), 0o600),
                (public, ed25519.public_key_to_pem(self.public_key), 0o644),
            ):
                fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                written.append(target)
                write_durably(fd, pem)
            sync_folder(private.parent)
        except OSError as error:
            for made in written:
                made.unlink(missing_ok=True)
            name = Path(error.filename).name if error.filename else private.name
            msg = f"the key cannot be written to {name}: {error.strerror}"
            raise InvalidOptionError(msg) from error
        return public

    def __repr__(self) -> str:
        return "SigningKey(...)"

    def __reduce__(self) -> str:
        msg = "a SigningKey cannot be pickled; use write and read"
        raise TypeError(msg)


def sign_bundle(path: str | os.PathLike[str], key: SigningKey) -> Bundle:
    """Verify a bundle and put `manifest.sig` into its folder, in place of one that is there.

    No other file changes, and with them neither do the digest and what devices keep.

    Returns:
        The bundle as it was verified and signed.

    Raises:
        BadBundleError: The reader refuses the bundle.
        InvalidOptionError: The signature cannot be written. No other file has changed.
    """
    folder = as_path(path, name="path").resolve()
    bundle = open_bundle(folder)
    # a file beside the folder: a reader at this moment must not find a stranger's in it
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            write_new(draft, key.sign(bundle.raw_manifest), mode=0o644)
            draft.replace(folder / SIGNATURE_NAME)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        msg = f"{SIGNATURE_NAME} cannot be written: {error.strerror}"
        raise InvalidOptionError(msg) from error
    return bundle
