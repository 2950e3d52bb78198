"""Ed25519 (RFC 8032) through the `cryptography` package, imported when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from edge_sdk.errors import InvalidOptionError, MissingExtraError
from edge_sdk.paths import as_path

if TYPE_CHECKING:
    import os

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_BYTES = 32
SIGNATURE_BYTES = 64
_MAX_PEM_BYTES = 1 << 14

_FIELD = (1 << 255) - 19
_SIGN_BIT = 1 << 255
# y coordinates of the eight points whose order divides 8 (they come in pairs of both signs).
# A signature by such a key can be made without any secret.
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = frozenset({0, 1, _FIELD - 1, _ORDER_8_Y, _FIELD - _ORDER_8_Y})


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is that of `message` by this key.

    Args:
        public_key: 32 bytes.
        signature: 64 bytes.
        message: What was signed.

    Raises:
        MissingExtraError: `cryptography` is not installed.
    """
    _require()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):  # ValueError: not a point of the curve
        return False
    return True


def read_pem(path: str | os.PathLike[str], kind: Literal["private", "public"]) -> bytes:
    """Bytes of a key's PEM file, the first 16 KiB of them.

    Raises:
        InvalidOptionError: It is no path, or the file cannot be read.
    """
    file_path = as_path(path, name="path")
    try:
        with file_path.open("rb") as file:
            return file.read(_MAX_PEM_BYTES)
    except OSError as error:
        msg = f"the {kind} key {file_path.name} cannot be read: {error.strerror}"
        raise InvalidOptionError(msg) from error


def check_public_key(public_key: object) -> bytes:
    """Return 32 bytes that can be a public key, or raise `InvalidOptionError`.

    The few keys under which anyone can sign, all zeros among them, are refused.
    """
    if not isinstance(public_key, bytes) or len(public_key) != KEY_BYTES:
        msg = f"a public key must be {KEY_BYTES} bytes; TrustedKey.read takes a PEM file"
        raise InvalidOptionError(msg)
    y = (int.from_bytes(public_key, "little") & ~_SIGN_BIT) % _FIELD
    if y in _SMALL_ORDER_Y:
        msg = "this public key has a small order: anyone could sign for it; make a new one"
        raise InvalidOptionError(msg)
    return public_key


def public_key_of_pem(pem: bytes) -> bytes:
    """Read the 32 bytes of a public key from PEM.

    Raises:
        InvalidOptionError: It is not the PEM of an Ed25519 public key.
        MissingExtraError: `cryptography` is not installed.
    """
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        msg = "not the PEM file of an Ed25519 public key; `edge-sdk keygen` makes one (*.pub)"
        raise InvalidOptionError(msg)
    return key.public_bytes_raw()


def public_key_to_pem(public_key: bytes) -> bytes:
    """The PEM (SubjectPublicKeyInfo) of a public key of 32 bytes."""
    _require()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PublicKey.from_public_bytes(public_key)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def new_private_key() -> Ed25519PrivateKey:
    """A new key from the system's random numbers.

    Raises:
        MissingExtraError: `cryptography` is not installed.
    """
    _require()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def private_key_of_pem(pem: bytes) -> Ed25519PrivateKey:
    """Read a private key from unencrypted PEM (PKCS #8).

    Raises:
        InvalidOptionError: It is not the PEM of an Ed25519 private key, or has a password.
        MissingExtraError: `cryptography` is not installed.
    """
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        msg = "the private key has a password; remove it with: openssl pkey -in FILE"
        raise InvalidOptionError(msg) from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        msg = "not the PEM file of an Ed25519 private key; `edge-sdk keygen` makes one"
        raise InvalidOptionError(msg)
    return key


def private_key_to_pem(key: Ed25519PrivateKey) -> bytes:
    """The PEM (PKCS #8, without a password) of a private key."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _require() -> None:
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "cryptography":
            raise
        msg = "bundle signatures need cryptography; install it with: pip install 'edge-sdk[secure]'"
        raise MissingExtraError(msg) from None
