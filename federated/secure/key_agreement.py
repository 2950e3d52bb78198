"""The cryptography of a session: X25519, HKDF-SHA256, ChaCha20-Poly1305, HMAC and Ed25519.

Every key is made for one session and one purpose, and every derivation is bound to the session, the
purpose and both parties. `cryptography` (the extra `secure`) is imported when it is first used.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk import ed25519
from edge_sdk.errors import MissingExtraError
from federated.secure.errors import BadShareError, ForgedKeyError
from federated.secure.messages import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    from edge_sdk.signing import SigningKey
    from federated.secure.roster import Roster
    from federated.secure.session import Session

_KEYS = b"edge-sdk secure aggregation 1 keys\n"
_BOOK = b"edge-sdk secure aggregation 1 key book\n"
_SEED = b"edge-sdk secure aggregation 1 self mask\n"
_CHANNEL = b"edge-sdk secure aggregation 1 channel\n"
_MASK = b"edge-sdk secure aggregation 1 mask\n"
_SHARES = b"edge-sdk secure aggregation 1 shares\n"
_AT_REST = b"edge-sdk secure aggregation 1 at rest\n"
_NONCE_BYTES = 12
_SURVIVORS = b"edge-sdk secure aggregation 1 survivors\n"


@dataclass(frozen=True, slots=True)
class MemberKeys:
    """What a member makes public for a session: two X25519 keys, and a promise of its self mask."""

    channel: bytes
    mask: bytes
    promise: bytes

    @property
    def raw(self) -> bytes:
        """96 bytes."""
        return self.channel + self.mask + self.promise


@dataclass(frozen=True, slots=True)
class Channel:
    """What two members share: a key to seal with, and one to confirm survivors with."""

    seal_key: bytes
    tag_key: bytes


def private_key(raw: bytes) -> X25519PrivateKey:
    """An X25519 private key of 32 random bytes.

    Raises:
        MissingExtraError: `cryptography` is not installed.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    return X25519PrivateKey.from_private_bytes(raw)


def promise(session: Session, place: int, seed: bytes) -> bytes:
    """What binds a member to its self mask's seed and says nothing of it: the seed is 256 bits."""
    return hashlib.sha256(_SEED + session.digest + _place(place) + seed).digest()


def sign_keys(session: Session, place: int, keys: MemberKeys, key: SigningKey) -> bytes:
    """A member's keys with its signature, 160 bytes."""
    return keys.raw + key.sign(_signed(session, place, keys.raw))


def verify_keys(session: Session, place: int, raw: bytes, roster: Roster) -> MemberKeys:
    """Check that a member's keys are its own.

    Raises:
        ForgedKeyError: The roster does not have the member, or its identity key did not sign them.
    """
    member, identity = session.members[place], roster.keys.get(session.members[place])
    body, signature = raw[: 3 * KEY_BYTES], raw[3 * KEY_BYTES :]
    if identity is None:
        msg = f"{member} is not in the roster; fetch a newer one, or leave this group"
        raise ForgedKeyError(msg)
    if not ed25519.verify(identity, signature, _signed(session, place, body)):
        msg = f"the keys of {member} are not signed by the identity key that the roster has"
        raise ForgedKeyError(msg)
    return split_keys(body)


def split_keys(raw: bytes) -> MemberKeys:
    """The three parts of a member's keys."""
    return MemberKeys(*(raw[at : at + KEY_BYTES] for at in range(0, 3 * KEY_BYTES, KEY_BYTES)))


def book_digest(session: Session, book: Mapping[int, MemberKeys]) -> bytes:
    """SHA-256 of the session and of all its keys: what later keys and tags are bound to."""
    state = hashlib.sha256(_BOOK + session.digest)
    for place in sorted(book):
        state.update(_place(place) + book[place].raw)
    return state.digest()


def channel(own: X25519PrivateKey, other: bytes, context: bytes, a: int, b: int) -> Channel:
    """The channel of members a and b, the same from both ends.

    Raises:
        ForgedKeyError: The other's key has a small order.
    """
    raw = hkdf(_exchange(own, other), context, _CHANNEL + _pair(a, b), 2 * KEY_BYTES)
    return Channel(raw[:KEY_BYTES], raw[KEY_BYTES:])


def mask_seed(own: X25519PrivateKey, other: bytes, context: bytes, a: int, b: int) -> bytes:
    """The seed of the mask between members a and b, the same from both ends, 32 bytes.

    Raises:
        ForgedKeyError: The other's key has a small order.
    """
    return hkdf(_exchange(own, other), context, _MASK + _pair(a, b), KEY_BYTES)


def hkdf(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """HKDF-SHA256 (RFC 5869), at most 8160 bytes."""
    fixed = hmac.digest(salt, secret, "sha256")
    block = out = hmac.digest(fixed, info + b"\x01", "sha256")
    for number in range(2, -(-size // 32) + 1):
        block = hmac.digest(fixed, block + info + bytes((number,)), "sha256")
        out += block
    return out[:size]


def seal(key: bytes, context: bytes, sender: int, recipient: int, shares: bytes) -> bytes:
    """Encrypt shares to one member; each direction of a channel carries one message only."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    about = _SHARES + context + _place(sender) + _place(recipient)
    return ChaCha20Poly1305(key).encrypt(_nonce(sender), shares, about)


def unseal(key: bytes, context: bytes, sender: int, recipient: int, sealed: bytes) -> bytes:
    """Decrypt what a member sealed.

    Raises:
        BadShareError: It was not sealed by that member, for that member, in this session.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    about = _SHARES + context + _place(sender) + _place(recipient)
    try:
        return ChaCha20Poly1305(key).decrypt(_nonce(sender), sealed, about)
    except InvalidTag:
        msg = f"what member {sender} sealed does not open; the keys or the message were changed"
        raise BadShareError(msg) from None


def seal_at_rest(key: bytes, secret: bytes, session: bytes) -> bytes:
    """Encrypt a member's secrets for its own disk: a random nonce, ciphertext and tag.

    Raises:
        MissingExtraError: `cryptography` is not installed.
    """
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, secret, _AT_REST + session)


def open_sealed(key: bytes, sealed: bytes, session: bytes) -> bytes | None:
    """What `seal_at_rest` was given; None where it was changed, or sealed for something else."""
    from cryptography.exceptions import InvalidTag

    try:
        return _cipher(key).decrypt(
            sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _AT_REST + session
        )
    except (InvalidTag, ValueError):
        return None


def _cipher(key: bytes) -> ChaCha20Poly1305:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    return ChaCha20Poly1305(key)


def survivors_digest(context: bytes, survivors: frozenset[int]) -> bytes:
    """SHA-256 of which members are left in a session."""
    return hashlib.sha256(_SURVIVORS + context + b"".join(map(_place, sorted(survivors)))).digest()


def survivor_tag(key: bytes, digest: bytes, sender: int, recipient: int) -> bytes:
    """By which a member confirms to another which members are left, 32 bytes."""
    return hmac.digest(key, digest + _place(sender) + _place(recipient), "sha256")


def _missing(error: ModuleNotFoundError) -> Exception:
    """What to raise where `cryptography` is not there; the error itself where it is another."""
    if error.name is None or error.name.partition(".")[0] != "cryptography":
        return error
    return MissingExtraError(
        "secure aggregation needs cryptography; install it with: pip install 'edge-sdk[secure]'"
    )


def _exchange(own: X25519PrivateKey, other: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    try:
        return own.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError:
        msg = "a member's key has a small order: the secret it makes would be known to all"
        raise ForgedKeyError(msg) from None


def _signed(session: Session, place: int, raw: bytes) -> bytes:
    return _KEYS + session.digest + _place(place) + raw


def _place(place: int) -> bytes:
    return place.to_bytes(2, "little")


def _pair(a: int, b: int) -> bytes:
    return _place(min(a, b)) + _place(max(a, b))


def _nonce(sender: int) -> bytes:
    return _place(sender).ljust(12, b"\0")
