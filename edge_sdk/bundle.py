"""The one bundle reader: every byte is verified, and what was verified is what gets loaded."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk import _core
from edge_sdk.accepted import Accepted, AcceptedVersions
from edge_sdk.ed25519 import SIGNATURE_BYTES
from edge_sdk.errors import BadBundleError, SignatureError
from edge_sdk.manifest import (
    DIGEST_NAME,
    EMBED_NAME,
    LISTED_NAMES,
    MANIFEST_NAME,
    MAX_FILE_BYTES,
    MAX_MANIFEST_BYTES,
    PROBE_NAME,
    REQUIRED_NAMES,
    SIGNATURE_NAME,
    Manifest,
    is_compiled_embed,
)
from edge_sdk.manifest_json import parse_manifest
from edge_sdk.paths import as_path
from edge_sdk.probe_file import parse_probe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge_sdk.trust import TrustedKey, TrustPolicy

_DIGEST_LINE = re.compile(rb"[0-9a-f]{64}\n")
_KNOWN_NAMES = frozenset((*LISTED_NAMES, PROBE_NAME, MANIFEST_NAME, DIGEST_NAME, SIGNATURE_NAME))


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle, whole in memory: later changes of the folder change nothing here.

    Attributes:
        path: Where it was read from.
        manifest: What it says about itself.
        digest: SHA-256 (hex) of the bytes of `manifest.json`; it names the bundle.
        raw_manifest: Bytes of `manifest.json`: what a signature is over.
        files: Bytes of each file that the manifest lists.
        signed_by: Name of the trusted key that signed it; None where no policy was given, so that
            nobody checked.
    """

    path: Path
    manifest: Manifest
    digest: str
    raw_manifest: bytes
    files: Mapping[str, bytes]
    signed_by: str | None = None

    @property
    def embed_identity(self) -> str:
        """What decides whether stored features stay valid under another bundle.

        The digest of `embed.onnx`; where nothing is frozen, the learner and the input's shape.
        """
        entry = self.manifest.files.get(EMBED_NAME)
        if entry is not None:
            return f"sha256:{entry.sha256}"
        return f"input:{self.manifest.learner}:{list(self.manifest.input.shape)}"


def open_bundle(path: str | os.PathLike[str], *, trust: TrustPolicy | None = None) -> Bundle:
    """Read and verify a bundle folder (docs/BUNDLE_FORMAT.md).

    The names in the folder, the signature where `trust` asks for one, `manifest.json` against
    `manifest.sha256`, the size and SHA-256 of each file, then the graphs. Sizes are capped before
    anything is read, links are not followed, nothing is parsed before its signature is checked.

    Args:
        path: The folder.
        trust: Whose signature it must have, and where accepted versions are remembered. None: any
            whole bundle is opened, signed or not.

    Raises:
        InvalidOptionError: `path` is no path.
        BadBundleError: Anything is missing, added, damaged or not of format 1; names the file.
        SignatureError: It is not signed, or not by a key that may sign today.
        ExpiredBundleError: Its last day has passed.
        OlderBundleError: This device accepted a newer version, or another bundle of this version.
        StoreError: The record of accepted versions cannot be read or written.
        MissingExtraError: `trust` is given and `cryptography` is not installed.

    Only a bundle that passed every check is remembered as accepted.
    """
    folder = as_path(path, name="path")
    try:
        folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        msg = f"a bundle is a folder; this one cannot be opened: {error.strerror}"
        raise BadBundleError(msg) from error
    try:
        found = _check_names(folder_fd)
        raw_manifest = _read_file(folder_fd, MANIFEST_NAME, MAX_MANIFEST_BYTES)
        signature = _read_signature(folder_fd) if SIGNATURE_NAME in found else None
        signer = None if trust is None else _check_signer(trust, raw_manifest, signature)
        digest = _check_manifest_digest(folder_fd, raw_manifest)
        manifest = parse_manifest(raw_manifest)
        if trust is not None:
            _check_age(trust, manifest, digest)
        _check_presence(found, manifest)
        files = {name: _read_listed(folder_fd, name, manifest) for name in sorted(manifest.files)}
    finally:
        os.close(folder_fd)
    for name, data in files.items():
        if name.endswith(".onnx"):
            _core.check_graph(name, data)
    if PROBE_NAME in files:
        parse_probe(files[PROBE_NAME], manifest)
    if trust is not None and trust.home is not None:
        AcceptedVersions(trust.home).accept(manifest.name, _candidate(manifest, digest))
    return Bundle(
        path=folder,
        manifest=manifest,
        digest=digest,
        raw_manifest=raw_manifest,
        files=files,
        signed_by=None if signer is None else signer.name,
    )


def _check_signer(trust: TrustPolicy, raw_manifest: bytes, signature: bytes | None) -> TrustedKey:
    if signature is None:
        msg = f"{SIGNATURE_NAME} is missing: only a signed bundle is opened here"
        raise SignatureError(msg)
    return trust.check_signature(raw_manifest, signature)


def _check_age(trust: TrustPolicy, manifest: Manifest, digest: str) -> None:
    """Refuse an expired or older bundle before its files are read."""
    trust.check_expiry(manifest)
    if trust.home is not None:
        AcceptedVersions(trust.home).check(manifest.name, _candidate(manifest, digest))


def _candidate(manifest: Manifest, digest: str) -> Accepted:
    return Accepted(version=manifest.version, digest=digest)


def _check_names(folder_fd: int) -> set[str]:
    """Names in the folder: only those that a bundle can have, and all that it must have."""
    found = set()
    with os.scandir(folder_fd) as entries:
        for entry in entries:
            if entry.name not in _KNOWN_NAMES and not is_compiled_embed(entry.name):
                msg = f"{ascii(entry.name)[1:-1]} does not belong into a bundle"
                raise BadBundleError(msg)
            found.add(entry.name)
    for name in (MANIFEST_NAME, DIGEST_NAME, *REQUIRED_NAMES):
        if name not in found:
            msg = f"{name} is missing from the bundle"
            raise BadBundleError(msg)
    return found


def _check_presence(found: set[str], manifest: Manifest) -> None:
    """Check the optional files: each is in the folder if and only if the manifest lists it."""
    present = found - {MANIFEST_NAME, DIGEST_NAME, SIGNATURE_NAME}
    for name in sorted(present - manifest.files.keys()):
        msg = f"{name} is in the bundle, but {MANIFEST_NAME} does not list it"
        raise BadBundleError(msg)
    for name in sorted(manifest.files.keys() - present):
        msg = f"{name} is missing from the bundle"
        raise BadBundleError(msg)


def _read_signature(folder_fd: int) -> bytes:
    signature = _read_file(folder_fd, SIGNATURE_NAME, SIGNATURE_BYTES)
    if len(signature) != SIGNATURE_BYTES:
        msg = f"{SIGNATURE_NAME} has {len(signature)} bytes, a signature has {SIGNATURE_BYTES}"
        raise SignatureError(msg)
    return signature


def _check_manifest_digest(folder_fd: int, raw_manifest: bytes) -> str:
    line = _read_file(folder_fd, DIGEST_NAME, 65)
    if not _DIGEST_LINE.fullmatch(line):
        msg = f"{DIGEST_NAME} must hold 64 lower-case hex digits and a newline"
        raise BadBundleError(msg)
    digest = hashlib.sha256(raw_manifest).hexdigest()
    if line != f"{digest}\n".encode("ascii"):
        msg = f"{MANIFEST_NAME} does not match its SHA-256 in {DIGEST_NAME}"
        raise BadBundleError(msg)
    return digest


def _read_listed(folder_fd: int, name: str, manifest: Manifest) -> bytes:
    entry = manifest.files[name]
    data = _read_file(folder_fd, name, MAX_FILE_BYTES)
    if len(data) != entry.size:
        msg = f"{name} has {len(data)} bytes, {MANIFEST_NAME} says {entry.size}"
        raise BadBundleError(msg)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        msg = f"{name} does not match its SHA-256 in {MANIFEST_NAME}"
        raise BadBundleError(msg)
    return data


def _read_file(folder_fd: int, name: str, largest: int) -> bytes:
    """Bytes of one regular file of at most `largest` bytes; never follows a link, never waits."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=folder_fd)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                msg = f"{name} is not a regular file"
                raise BadBundleError(msg)
            if status.st_size > largest:
                msg = f"{name} has {status.st_size} bytes, at most {largest} are allowed"
                raise BadBundleError(msg)
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(largest + 1)
        finally:
            os.close(fd)
    except OSError as error:
        msg = f"{name} cannot be read: {error.strerror}"
        raise BadBundleError(msg) from error
    if len(data) > largest:
        msg = f"{name} grew past {largest} bytes while it was read"
        raise BadBundleError(msg)
    return data
