"""What changed between two versions of a bundle: a device downloads that and makes the new one.

A changed file travels as those of its byte ranges that differ, where that is shorter, else whole:
the tensors of a new `init.onnx` lie where the old ones did, so only tensors that moved are sent.
What comes out is verified as any bundle is, before it is there.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from edge_sdk.bundle import open_bundle
from edge_sdk.durable import sync_folder, write_new
from edge_sdk.ed25519 import SIGNATURE_BYTES
from edge_sdk.errors import BadBundleError, EdgeError, InvalidOptionError
from edge_sdk.manifest import (
    DIGEST_NAME,
    MANIFEST_NAME,
    MAX_FILE_BYTES,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
)
from edge_sdk.manifest_json import parse_manifest
from edge_sdk.paths import as_path

if TYPE_CHECKING:
    import os

    from edge_sdk.bundle import Bundle
    from edge_sdk.trust import TrustPolicy

_MAGIC = b"ESBC"
_HEAD = struct.Struct("<4sB32sIII")  # magic, version, old digest, sizes: manifest, signature, files
_FILE = struct.Struct("<HBQQ")  # size of the name, form, size of the file, size of what follows
_RANGE = struct.Struct("<QI")  # place, size
_VERSION = 1
_WHOLE, _RANGES = 0, 1
_MAX_GAP = 2 * _RANGE.size  # ranges that are nearer than this cost less as one
_MAX_FILES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangesSize:
    """Bytes of a download beside those of the whole bundle."""

    changes: int
    bundle: int


def changes(old: Bundle, new: Bundle) -> bytes:
    """What a device that holds `old` needs to make `new`: the same bytes for the same bundles.

    The signature of `new` travels with it where its folder has one.

    Raises:
        BadBundleError: The signature of `new` cannot be read.
    """
    signature = _signature_of(new)
    parts = []
    for name in sorted(new.files):
        data, known = new.files[name], old.files.get(name, b"")
        if data == known:
            continue
        whole, ranges = zlib.compress(data, 9), zlib.compress(_ranges(known, data), 9)
        form, body = (_RANGES, ranges) if len(ranges) < len(whole) else (_WHOLE, whole)
        encoded = name.encode("ascii")
        parts.append(_FILE.pack(len(encoded), form, len(data), len(body)) + encoded + body)
    head = _HEAD.pack(
        _MAGIC,
        _VERSION,
        bytes.fromhex(old.digest),
        len(new.raw_manifest),
        len(signature),
        len(parts),
    )
    return head + new.raw_manifest + signature + b"".join(parts)


def apply_changes(
    old: Bundle,
    raw: bytes,
    path: str | os.PathLike[str],
    *,
    trust: TrustPolicy | None = None,
) -> Bundle:
    """Make the new bundle's folder; it is there whole and verified, or not at all.

    Args:
        old: The bundle that the device holds.
        raw: What `changes` gave, from a stranger.
        path: The new folder; must not exist.
        trust: Whose bundles are accepted, as for `open_bundle`.

    Returns:
        The new bundle.

    Raises:
        BadBundleError: The bytes are damaged, are for another old bundle, or do not make a bundle
            that the reader (and `trust`) accepts.
        InvalidOptionError: The folder exists or cannot be written.
    """
    target = as_path(path, name="path")
    files = _new_files(old, raw)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        if target.exists():
            msg = f"{target.name} exists; name a new folder"
            raise InvalidOptionError(msg)
        draft.mkdir()
        for name, data in files.items():
            write_new(draft / name, data, mode=0o644)
        sync_folder(draft)
        # All but the version's age first: what is remembered as accepted must be in its place.
        open_bundle(draft, trust=None if trust is None else replace(trust, home=None))
        draft.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        msg = f"the bundle cannot be written to {target.name}: {error.strerror}"
        raise InvalidOptionError(msg) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    try:
        return open_bundle(target, trust=trust)
    except EdgeError:
        shutil.rmtree(target)
        raise


def size_of(old: Bundle, new: Bundle) -> ChangesSize:
    """How much a device downloads, and how much it would have without this."""
    return ChangesSize(changes=len(changes(old, new)), bundle=whole_size(new))


def whole_size(bundle: Bundle) -> int:
    """Bytes of a bundle's files."""
    return sum(map(len, bundle.files.values())) + len(bundle.raw_manifest)


def _signature_of(bundle: Bundle) -> bytes:
    try:
        signature = (bundle.path / SIGNATURE_NAME).read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        msg = f"{SIGNATURE_NAME} cannot be read: {error.strerror}"
        raise BadBundleError(msg) from error
    return signature


def _ranges(known: bytes, data: bytes) -> bytes:
    """The ranges of `data` in which it differs from `known`, each with its place and size."""
    common = min(len(known), len(data))
    differs = np.frombuffer(known, np.uint8, common) != np.frombuffer(data, np.uint8, common)
    places = np.flatnonzero(differs)
    if len(data) > common:
        places = np.append(places, [common, len(data) - 1])
    if not len(places):
        return b""
    breaks = np.flatnonzero(np.diff(places) > _MAX_GAP)
    if len(data) > common:  # nothing of the tail is known
        breaks = breaks[places[breaks] < common]
    firsts = places[np.append(0, breaks + 1)].tolist()
    ends = (places[np.append(breaks, len(places) - 1)] + 1).tolist()
    return b"".join(
        _RANGE.pack(first, end - first) + data[first:end]
        for first, end in zip(firsts, ends, strict=True)
    )


def _new_files(old: Bundle, raw: bytes) -> dict[str, bytes]:
    """The files of the new bundle's folder, each as its manifest says."""
    reader = _Reader(raw)
    magic, version, digest, manifest_size, signature_size, num_files = reader.unpack(_HEAD)
    if magic != _MAGIC or version != _VERSION:
        _damaged("they do not start as version 1 does")
    if digest.hex() != old.digest:
        _damaged("they start from another bundle than this device holds; fetch the whole bundle")
    if manifest_size > MAX_MANIFEST_BYTES or signature_size not in (0, SIGNATURE_BYTES):
        _damaged("a size is out of range")
    raw_manifest = reader.take(manifest_size)
    signature = reader.take(signature_size)
    changed = _read_changed(reader, old, num_files)
    manifest = parse_manifest(raw_manifest)
    if not changed.keys() <= manifest.files.keys():
        _damaged("they have a file that the new manifest does not list")
    files = {name: changed.get(name, old.files.get(name, b"")) for name in manifest.files}
    for name, entry in manifest.files.items():
        if hashlib.sha256(files[name]).hexdigest() != entry.sha256:
            _damaged(f"{ascii(name)[1:-1]} does not come out as the new manifest says")
    files[MANIFEST_NAME] = raw_manifest
    files[DIGEST_NAME] = f"{hashlib.sha256(raw_manifest).hexdigest()}\n".encode("ascii")
    if signature:
        files[SIGNATURE_NAME] = signature
    return files


def _read_changed(reader: _Reader, old: Bundle, num_files: int) -> dict[str, bytes]:
    if num_files > _MAX_FILES:
        _damaged("they have too many files")
    changed = dict(_read_file(reader, old) for _ in range(num_files))
    if reader.left:
        _damaged("they have bytes after their end")
    return changed


def _read_file(reader: _Reader, old: Bundle) -> tuple[str, bytes]:
    name_size, form, size, body_size = reader.unpack(_FILE)
    name = reader.take(name_size).decode("ascii", "replace")
    if form not in (_WHOLE, _RANGES) or size > MAX_FILE_BYTES:
        _damaged("a file's form or size is out of range")
    known = old.files.get(name, b"")
    most = size if form == _WHOLE else size + _RANGE.size * (size // _MAX_GAP + 2)
    body = _inflate(reader.take(body_size), most)
    if form == _WHOLE:
        return name, body
    data = bytearray(known[:size].ljust(size, b"\0"))
    ranges = _Reader(body)
    while ranges.left:
        first, count = ranges.unpack(_RANGE)
        if first + count > size:
            _damaged("a range ends after its file")
        data[first : first + count] = ranges.take(count)
    return name, bytes(data)


def _inflate(raw: bytes, most: int) -> bytes:
    """Decompress, but never to more than `most` bytes."""
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(raw, most + 1)
    except zlib.error:
        _damaged("a file does not decompress")
    if len(data) > most or not inflater.eof or inflater.unused_data:
        _damaged("a file decompresses to another size")
    return data


class _Reader:
    """Takes bytes from the front; never past the end."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    @property
    def left(self) -> int:
        return len(self._raw) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            _damaged("they end too early")
        self._at += size
        return self._raw[self._at - size : self._at]

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        return form.unpack(self.take(form.size))


def _damaged(what: str) -> NoReturn:
    msg = f"the changes of a bundle are damaged: {what}"
    raise BadBundleError(msg)
