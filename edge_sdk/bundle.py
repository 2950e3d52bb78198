"""The one bundle reader: every byte is verified, and what was verified is what gets loaded."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk.errors import BadBundleError
from edge_sdk.manifest import (
    DIGEST_NAME,
    EMBED_NAME,
    LISTED_NAMES,
    MANIFEST_NAME,
    MAX_FILE_BYTES,
    MAX_MANIFEST_BYTES,
    REQUIRED_NAMES,
    Manifest,
    is_compiled_embed,
)
from edge_sdk.manifest_json import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGEST_LINE = re.compile(rb"[0-9a-f]{64}\n")
_KNOWN_NAMES = frozenset((*LISTED_NAMES, MANIFEST_NAME, DIGEST_NAME))


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A verified bundle, whole in memory: later changes of the folder change nothing here.

    Attributes:
        path: Where it was read from.
        manifest: What it says about itself.
        digest: SHA-256 (hex) of the bytes of `manifest.json`; it names the bundle.
        files: Bytes of each file that the manifest lists.
    """

    path: Path
    manifest: Manifest
    digest: str
    files: Mapping[str, bytes]

    @property
    def embed_identity(self) -> str:
        """What decides whether stored features stay valid under another bundle.

        The digest of `embed.onnx`; where nothing is frozen, the learner and the input's shape.
        """
        entry = self.manifest.files.get(EMBED_NAME)
        if entry is not None:
            return f"sha256:{entry.sha256}"
        return f"input:{self.manifest.learner}:{list(self.manifest.input.shape)}"


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read and verify a bundle folder (docs/BUNDLE_FORMAT.md).

    The names in the folder, `manifest.json` against `manifest.sha256`, then the size and SHA-256 of
    each file. Sizes are capped before anything is read, links are not followed.

    Raises:
        BadBundleError: Anything is missing, added, damaged or not of format 1; names the file.
    """
    folder = Path(path)
    try:
        folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        msg = f"a bundle is a folder; this one cannot be opened: {error.strerror}"
        raise BadBundleError(msg) from error
    try:
        _check_names(folder_fd)
        raw_manifest = _read_file(folder_fd, MANIFEST_NAME, MAX_MANIFEST_BYTES)
        digest = _check_manifest_digest(folder_fd, raw_manifest)
        manifest = parse_manifest(raw_manifest)
        _check_presence(folder_fd, manifest)
        files = {name: _read_listed(folder_fd, name, manifest) for name in sorted(manifest.files)}
    finally:
        os.close(folder_fd)
    return Bundle(path=folder, manifest=manifest, digest=digest, files=files)


def _check_names(folder_fd: int) -> None:
    """Check that the folder holds only files that a bundle can have, and those it must have."""
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


def _check_presence(folder_fd: int, manifest: Manifest) -> None:
    """Check the optional files: each is in the folder if and only if the manifest lists it."""
    present = set(os.listdir(folder_fd)) - {MANIFEST_NAME, DIGEST_NAME}
    for name in sorted(present - manifest.files.keys()):
        msg = f"{name} is in the bundle, but {MANIFEST_NAME} does not list it"
        raise BadBundleError(msg)
    for name in sorted(manifest.files.keys() - present):
        msg = f"{name} is missing from the bundle"
        raise BadBundleError(msg)


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
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                msg = f"{name} is not a regular file"
                raise BadBundleError(msg)
            if status.st_size > largest:
                msg = f"{name} has {status.st_size} bytes, at most {largest} are allowed"
                raise BadBundleError(msg)
            data = file.read(largest + 1)
    except OSError as error:
        msg = f"{name} cannot be read: {error.strerror}"
        raise BadBundleError(msg) from error
    if len(data) > largest:
        msg = f"{name} grew past {largest} bytes while it was read"
        raise BadBundleError(msg)
    return data
