"""Where the key of a user's encrypted store is kept: the protocol, and a file that does it.

A platform's own key store (Android Keystore, the iOS Keychain, a TPM, libsecret) is the right
place: an app wraps it in the three methods of `KeyStore`, or hands the 32 bytes over itself.
`FileKeyStore` is the weakest choice: whoever can read the user's files can read the key too. It
protects a store that is copied or backed up without the key file, and `erase` then makes such
copies unreadable.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import Protocol, runtime_checkable

from edge_sdk.durable import sync_folder, write_durably, write_new
from edge_sdk.errors import InvalidOptionError, KeyStoreError
from edge_sdk.paths import as_path

KEY_BYTES = 32


@runtime_checkable
class KeyStore(Protocol):
    """Keeps one user's key, 32 bytes. Methods raise `KeyStoreError` where they cannot."""

    def load(self) -> bytes | None:
        """Return the key, or None where there is none (yet, or any more)."""

    def create(self) -> bytes:
        """Make a random key, keep it durably and return it; return the one there is, if any."""

    def delete(self) -> None:
        """Destroy the key; nothing happens where there is none."""


class FixedKey:
    """A key that the app supplies and keeps; `erase` cannot destroy it.

    Raises:
        InvalidOptionError: It is not 32 bytes.
    """

    def __init__(self, key: object) -> None:
        if not isinstance(key, bytes) or len(key) != KEY_BYTES:
            msg = f"key must be {KEY_BYTES} random bytes, or a KeyStore"
            raise InvalidOptionError(msg)
        self._key = key

    def load(self) -> bytes:
        """Return the key."""
        return self._key

    def create(self) -> bytes:
        """Return the key."""
        return self._key

    def delete(self) -> None:
        """Do nothing: the key is the app's."""


class FileKeyStore:
    """A key in a file that only this user can read (mode 0600).

    Keep it outside the home folder, or a copy of the folder is a copy of the key.

    Args:
        path: The file; its folder is made if absent.

    Raises:
        InvalidOptionError: It is no path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = as_path(path, name="path")

    def load(self) -> bytes | None:
        """Return the key, or None where there is no file.

        Raises:
            KeyStoreError: The file cannot be read, others can read it, or it holds no key.
        """
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(error, to="read") from None
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(descriptor).st_mode & 0o077:
                msg = "others can read the key file; set its mode to 0600"
                raise KeyStoreError(msg)
            key = file.read(KEY_BYTES + 1)
        if len(key) != KEY_BYTES:
            msg = f"the key file must hold {KEY_BYTES} bytes; restore it from a backup"
            raise KeyStoreError(msg)
        return key

    def create(self) -> bytes:
        """Return the key, made and written durably where there is none.

        Raises:
            KeyStoreError: The file cannot be written, or as `load`.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
            try:
                write_new(draft, secrets.token_bytes(KEY_BYTES))
                with suppress(FileExistsError):  # another process was first: its key is the key
                    os.link(draft, self._path)
            finally:
                draft.unlink(missing_ok=True)
            sync_folder(self._path.parent)
        except OSError as error:
            raise _failed(error, to="write") from None
        key = self.load()
        if key is None:
            msg = "the key file vanished while it was made; try again"
            raise KeyStoreError(msg)
        return key

    def delete(self) -> None:
        """Overwrite the key with zeros and remove the file.

        Raises:
            KeyStoreError: It cannot be removed.
        """
        try:
            flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            write_durably(os.open(self._path, flags), bytes(KEY_BYTES))
            self._path.unlink()
            sync_folder(self._path.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed(error, to="destroy") from None


def as_key_store(key: object) -> KeyStore | None:
    """What `Personalizer(key=...)` was given: 32 bytes, a `KeyStore`, or None.

    Raises:
        InvalidOptionError: It is something else.
    """
    if key is None:
        return None
    if isinstance(key, KeyStore) and not isinstance(key, type):
        return key
    return FixedKey(key)


def _failed(error: OSError, *, to: str) -> KeyStoreError:
    return KeyStoreError(f"cannot {to} the key file: {error.strerror}")
