"""Personal blobs at rest: encrypted under a data key, or as they are.

The data key is random, made with the store, and kept in it wrapped with the user's key. Both use
AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce for each blob, so a data key is good for
2**32 blobs. A blob's associated data is the store's id and the row and column that it belongs to: a
blob that is moved to another row, column or store does not open.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Protocol

from edge_sdk.errors import MissingExtraError, StoreDamagedError, WrongKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
DATA_KEY_BYTES = 32


class Sealer(Protocol):
    """Turns personal bytes into what is stored, and back."""

    @property
    def encrypts(self) -> bool:
        """Whether what is stored is unreadable without a key."""

    def seal(self, data: bytes, place: str) -> bytes:
        """What is stored at `place`: table, row and column."""

    def open(self, blob: bytes, place: str) -> bytes:
        """What was sealed at `place`.

        Raises:
            StoreDamagedError: `blob` is damaged or was sealed elsewhere.
        """


class PlainSealer:
    """Stores bytes as they are."""

    encrypts = False

    def seal(self, data: bytes, place: str) -> bytes:
        """Return the bytes."""
        del place
        return data

    def open(self, blob: bytes, place: str) -> bytes:
        """Return the bytes."""
        del place
        return blob


class AesGcmSealer:
    """Encrypts with one store's data key: nonce, ciphertext and tag, 28 bytes longer than the data.

    Args:
        data_key: 32 bytes.
        store_id: The store that the blobs belong to.

    Raises:
        MissingExtraError: `cryptography` is not installed.
    """

    encrypts = True

    def __init__(self, data_key: bytes, store_id: str) -> None:
        self._cipher, self._store_id = _cipher(data_key), store_id

    def seal(self, data: bytes, place: str) -> bytes:
        """Encrypt, with a fresh nonce."""
        return _encrypt(self._cipher, data, f"{self._store_id}/{place}")

    def open(self, blob: bytes, place: str) -> bytes:
        """Decrypt and authenticate.

        Raises:
            StoreDamagedError: `blob` is damaged or was sealed elsewhere.
        """
        data = _decrypt(self._cipher, blob, f"{self._store_id}/{place}")
        if data is None:
            msg = "an encrypted blob of the personal store is damaged or was moved"
            raise StoreDamagedError(msg)
        return data


def new_data_key(key: bytes, store_id: str) -> tuple[AesGcmSealer, bytes]:
    """A sealer with a new data key, and that key wrapped with the user's `key` (32 bytes).

    Raises:
        MissingExtraError: `cryptography` is not installed.
    """
    data_key = secrets.token_bytes(DATA_KEY_BYTES)
    wrapped = _encrypt(_cipher(key), data_key, f"{store_id}/data key")
    return AesGcmSealer(data_key, store_id), wrapped


def unwrap_data_key(key: bytes, wrapped: bytes, store_id: str) -> AesGcmSealer:
    """The sealer of a store with that wrapped data key.

    Raises:
        WrongKeyError: It was wrapped with another key.
        MissingExtraError: `cryptography` is not installed.
    """
    data_key = _decrypt(_cipher(key), wrapped, f"{store_id}/data key")
    if data_key is None or len(data_key) != DATA_KEY_BYTES:
        msg = "the personal store is encrypted with another key; open it with its own"
        raise WrongKeyError(msg)
    return AesGcmSealer(data_key, store_id)


def _cipher(key: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an extra
    except ImportError as error:
        msg = "encryption needs cryptography; install it with: pip install 'edge-sdk[secure]'"
        raise MissingExtraError(msg) from error
    return AESGCM(key)


def _encrypt(cipher: AESGCM, data: bytes, place: str) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, place.encode("utf-8"))


def _decrypt(cipher: AESGCM, blob: bytes, place: str) -> bytes | None:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an extra

    if len(blob) < NONCE_BYTES + 16:
        return None
    try:
        return cipher.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], place.encode("utf-8"))
    except InvalidTag:
        return None
