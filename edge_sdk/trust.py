"""Whose bundles a device opens: trusted keys with their days, a clock, and a memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from edge_sdk import ed25519
from edge_sdk.errors import ExpiredBundleError, InvalidOptionError, SignatureError
from edge_sdk.manifest import MANIFEST_NAME, SIGNATURE_NAME
from edge_sdk.paths import as_path

if TYPE_CHECKING:
    import os

    from edge_sdk.manifest import Manifest

MAX_KEYS = 32
_MAX_NAME_CHARS = 128

Clock = Callable[[], dt.datetime]


def system_clock() -> dt.datetime:
    """The time of this machine, in UTC."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustedKey:
    """A public key that may sign bundles.

    Attributes:
        name: What errors and `Bundle.signed_by` call it, 1 to 128 printable characters.
        public_key: 32 bytes.
        not_before: First day (UTC) on which its signatures are accepted; None: no such limit.
        not_after: Last such day; None: no such limit.
    """

    name: str
    public_key: bytes
    not_before: dt.date | None = None
    not_after: dt.date | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        ed25519.check_public_key(self.public_key)
        for day in (self.not_before, self.not_after):
            if day is not None and type(day) is not dt.date:  # a datetime is a date, too
                msg = "not_before and not_after must be datetime.date, the day in UTC"
                raise InvalidOptionError(msg)
        if self.not_before and self.not_after and self.not_before > self.not_after:
            msg = f"key {self.name}: not_before is after not_after"
            raise InvalidOptionError(msg)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        not_before: dt.date | None = None,
        not_after: dt.date | None = None,
    ) -> Self:
        """Read a PEM file, as `edge-sdk keygen` writes; its file name is the key's by default.

        Raises:
            InvalidOptionError: It is no path, or the file cannot be read or holds no Ed25519 public
                key.
            MissingExtraError: `cryptography` is not installed.
        """
        return cls(
            name=as_path(path, name="path").name if name is None else name,
            public_key=ed25519.public_key_of_pem(ed25519.read_pem(path, "public")),
            not_before=not_before,
            not_after=not_after,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustPolicy:
    """What `open_bundle` demands of a bundle beyond being whole (docs/BUNDLE_FORMAT.md).

    Days are judged by `clock`. Where the device's clock cannot be trusted, pass the latest time
    that is known to have passed (the app's build, or a server's signed time): what expired before
    then is refused. Older bundles are refused without any clock.

    Attributes:
        keys: The keys that may sign, at least one; to change keys, trust the old and the new one
            for a while (docs/decisions/003-key-rotation.md).
        home: Folder in which the newest accepted version of each bundle is remembered, across
            restarts: one for the device or the app, not one for each user, as a user's home can be
            erased. None: nothing is remembered, so older bundles are not refused.
        clock: Gives the time, with a time zone.

    Raises:
        InvalidOptionError: A value is not as above, or a key or name is there twice.
    """

    keys: Sequence[TrustedKey]
    home: str | os.PathLike[str] | None
    clock: Clock = system_clock

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", _checked_keys(self.keys))  # what was checked stays

    def today(self) -> dt.date:
        """The day in UTC.

        Raises:
            InvalidOptionError: The clock does not give a datetime with a time zone.
        """
        return _utc_day(self.clock())

    def check_signature(self, raw_manifest: bytes, signature: bytes) -> TrustedKey:
        """Return the key that signed these bytes, before anything parses them.

        Raises:
            SignatureError: No trusted key did, or the one that did may not sign today.
            MissingExtraError: `cryptography` is not installed.
        """
        for key in self.keys:
            if ed25519.verify(key.public_key, signature, raw_manifest):
                _check_days(key, self.today())
                return key
        msg = (
            f"{SIGNATURE_NAME} is not the signature of {MANIFEST_NAME} by a trusted key: the "
            "bundle was changed, or signed by a stranger"
        )
        raise SignatureError(msg)

    def check_expiry(self, manifest: Manifest) -> None:
        """Check the manifest's own last day.

        Raises:
            ExpiredBundleError: It has passed.
        """
        today = self.today()
        if manifest.expires is not None and today > manifest.expires:
            msg = (
                f"{MANIFEST_NAME}: the bundle expired after {manifest.expires}, the clock says "
                f"{today}; fetch a newer one"
            )
            raise ExpiredBundleError(msg)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME_CHARS or not name.isprintable():
        msg = f"a key's name must have 1..{_MAX_NAME_CHARS} printable characters"
        raise InvalidOptionError(msg)


def _checked_keys(keys: object) -> tuple[TrustedKey, ...]:
    found = tuple(keys) if isinstance(keys, Sequence) else ()
    if not 1 <= len(found) <= MAX_KEYS or not all(isinstance(key, TrustedKey) for key in found):
        msg = f"keys must be a sequence of 1..{MAX_KEYS} TrustedKey"
        raise InvalidOptionError(msg)
    names, bits = {key.name for key in found}, {key.public_key for key in found}
    if not len(names) == len(bits) == len(found):
        msg = "keys must be distinct, and have distinct names"
        raise InvalidOptionError(msg)
    return found


def _utc_day(now: object) -> dt.date:
    if not isinstance(now, dt.datetime) or now.tzinfo is None:
        msg = "clock must return a datetime with a time zone"
        raise InvalidOptionError(msg)
    return now.astimezone(dt.UTC).date()


def _check_days(key: TrustedKey, today: dt.date) -> None:
    if key.not_before is not None and today < key.not_before:
        msg = (
            f"{SIGNATURE_NAME}: key {key.name} is not valid before {key.not_before}, the clock "
            f"says {today}; check the device's clock"
        )
        raise SignatureError(msg)
    if key.not_after is not None and today > key.not_after:
        msg = (
            f"{SIGNATURE_NAME}: key {key.name} was valid until {key.not_after}, the clock says "
            f"{today}; fetch a bundle signed by a newer key"
        )
        raise SignatureError(msg)
