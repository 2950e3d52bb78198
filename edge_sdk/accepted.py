"""The newest accepted version of each bundle, in one small file that survives restarts.

It is replaced whole (write, fsync, rename, fsync of the folder), so a crash leaves the old or the
new one, and it holds its own checksum. Processes take turns by a lock file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk.durable import sync_folder, write_durably
from edge_sdk.errors import BadBundleError, OlderBundleError, StoreError
from edge_sdk.paths import as_path
from edge_sdk.strict_json import Place, decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RECORD_NAME = "accepted-bundles.json"
LOCK_NAME = "accepted-bundles.lock"
_FORMAT = 1
_MAX_RECORD_BYTES = 1 << 20
_MAX_VERSION = (1 << 31) - 1
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The newest bundle of one name: its version, and the digest of its manifest."""

    version: int
    digest: str


class AcceptedVersions:
    """The record in one folder, which is made when it is needed.

    Args:
        home: The folder, private to the app or the device.

    Raises:
        InvalidOptionError: It is no path.
    """

    def __init__(self, home: str | os.PathLike[str]) -> None:
        self._home = as_path(home, name="home")

    def check(self, name: str, candidate: Accepted) -> None:
        """Check a bundle against the record; nothing is written.

        Raises:
            OlderBundleError: A newer version of this name, or another bundle of the same version,
                was accepted before.
            StoreError: The record cannot be read, or is damaged.
        """
        _check_newer(name, candidate, self._read().get(name))

    def accept(self, name: str, candidate: Accepted) -> None:
        """Check again, then remember this version; it is on the disk when this returns.

        Raises:
            OlderBundleError, StoreError: As for `check`, or it cannot be written. The record is
                then the old or the new one.
        """
        with self._locked():
            known = self._read()
            _check_newer(name, candidate, known.get(name))
            if known.get(name) != candidate:
                self._write({**known, name: candidate})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with _translated("be locked"):
            if not self._home.is_dir():
                self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
                sync_folder(self._home.parent)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self._home / LOCK_NAME, flags, 0o600)
        try:
            with _translated("be locked"):
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)  # which unlocks

    def _read(self) -> dict[str, Accepted]:
        with _translated("be read"):
            try:
                fd = os.open(
                    self._home / RECORD_NAME,
                    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                )
            except FileNotFoundError:
                return {}
            with os.fdopen(fd, "rb") as file:
                data = file.read(_MAX_RECORD_BYTES + 1)
        try:
            return _parse(data)
        except BadBundleError as error:
            msg = (
                f"{error}; the record of accepted bundles is damaged, so an older bundle could not "
                "be told: restore it, or delete it to start anew"
            )
            raise StoreError(msg) from None

    def _write(self, bundles: Mapping[str, Accepted]) -> None:
        draft = self._home / f"{RECORD_NAME}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with _translated("be written"):
            write_durably(os.open(draft, flags, 0o600), _encode(bundles))
            draft.replace(self._home / RECORD_NAME)
            sync_folder(self._home)


def _check_newer(name: str, candidate: Accepted, known: Accepted | None) -> None:
    if known is None or candidate.version > known.version or candidate == known:
        return
    if candidate.version < known.version:
        msg = (
            f"manifest.json: {name} has version {candidate.version}, this device accepted version "
            f"{known.version} before; fetch that one or a newer one"
        )
    else:
        msg = (
            f"manifest.json: this device accepted another {name} of version {known.version} "
            "before; a changed bundle needs a higher version"
        )
    raise OlderBundleError(msg)


def _encode(bundles: Mapping[str, Accepted]) -> bytes:
    entries = {
        name: {"digest": known.digest, "version": known.version} for name, known in bundles.items()
    }
    record = {"bundles": entries, "format": _FORMAT, "sha256": _checksum(entries)}
    return (json.dumps(record, indent=1, sort_keys=True) + "\n").encode("ascii")


def _checksum(entries: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode("ascii")).hexdigest()


def _parse(data: bytes) -> dict[str, Accepted]:
    top = decode(data, file_name=RECORD_NAME)
    values = top.record(
        {
            "bundles": lambda p: p.mapping(_entry),
            "format": lambda p: p.integer(_FORMAT, _FORMAT),
            "sha256": lambda p: p.match(_HEX_DIGEST),
        }
    )
    bundles: dict[str, Accepted] = values["bundles"]
    if data != _encode(bundles):  # the checksum, and that nothing else was changed
        top.look("sha256").refuse("is not that of the entries")
    return bundles


def _entry(place: Place) -> Accepted:
    values = place.record(
        {
            "digest": lambda p: p.match(_HEX_DIGEST),
            "version": lambda p: p.integer(1, _MAX_VERSION),
        }
    )
    return Accepted(**values)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"the record of accepted bundles cannot {what}: {error.strerror}"
        raise StoreError(msg) from error
