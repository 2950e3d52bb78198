"""The one bundle writer: same input, same bytes, and never half a bundle at the path."""

from __future__ import annotations

import ctypes
import hashlib
import os
import secrets
import shutil
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk.bundle import open_bundle
from edge_sdk.durable import sync_folder, write_new
from edge_sdk.errors import InvalidOptionError
from edge_sdk.manifest import (
    DIGEST_NAME,
    LISTED_NAMES,
    MANIFEST_NAME,
    MODEL_CARD_NAME,
    PROBE_NAME,
    SIGNATURE_NAME,
    BundleDraft,
    FileEntry,
    Manifest,
    is_compiled_embed,
)
from edge_sdk.manifest_json import encode_manifest, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sdk.signing import SigningKey

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def write_bundle(
    path: str | os.PathLike[str],
    *,
    manifest_fields: BundleDraft,
    graphs: Mapping[str, bytes],
    model_card: str,
    overwrite: bool = False,
    key: SigningKey | None = None,
) -> str:
    """Write a bundle folder, whole or not at all, after the one reader has accepted it.

    Args:
        path: The folder to make; its parents are made too.
        manifest_fields: All of the manifest but its files.
        graphs: File names (`init.onnx`, ...) to ONNX bytes; without `embed.onnx` nothing is frozen.
            `probe.bin` may be among them (`edge_sdk.probe_file`).
        model_card: Text of MODEL_CARD.md.
        overwrite: Replace a bundle that is at `path`, in one step where the system can do that.
        key: Sign the bundle with it; `edge-sdk sign` can do that later, too.

    Returns:
        The bundle's digest.

    Raises:
        BadBundleError: The reader would refuse this bundle.
        InvalidOptionError: `path` exists and may not be replaced, or a value is not JSON.
        OSError: The disk is full, or such.

    On any error `path` is what it was before.
    """
    target = Path(path)
    files = {**graphs, MODEL_CARD_NAME: _encoded(model_card)}
    raw_manifest = _manifest_bytes(manifest_fields, files)
    check_target(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft_folder = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    draft_folder.mkdir()
    try:
        digest = hashlib.sha256(raw_manifest).hexdigest()
        files |= {MANIFEST_NAME: raw_manifest, DIGEST_NAME: f"{digest}\n".encode("ascii")}
        if key is not None:
            files[SIGNATURE_NAME] = key.sign(raw_manifest)
        for name, data in files.items():
            write_new(draft_folder / name, data, mode=0o666)
        sync_folder(draft_folder)
        open_bundle(draft_folder)
        _publish(draft_folder, target, overwrite=overwrite)
    finally:
        shutil.rmtree(draft_folder, ignore_errors=True)  # after an exchange, the old bundle
    sync_folder(target.parent)
    return digest


def _encoded(model_card: str) -> bytes:
    try:
        return model_card.encode("utf-8")
    except UnicodeEncodeError as error:
        msg = "model_card must be valid Unicode, got a lone surrogate"
        raise InvalidOptionError(msg) from error


def _manifest_bytes(draft: BundleDraft, files: Mapping[str, bytes]) -> bytes:
    entries = {
        name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        for name, data in files.items()
    }
    values = {field.name: getattr(draft, field.name) for field in fields(BundleDraft)}
    manifest = Manifest(**values, files=entries)
    try:
        raw_manifest = encode_manifest(manifest)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"manifest_fields must hold finite JSON values only: {error}"
        raise InvalidOptionError(msg) from error
    if parse_manifest(raw_manifest) != manifest:
        msg = "manifest_fields changes on its way through JSON; use plain JSON values and str keys"
        raise InvalidOptionError(msg)
    return raw_manifest


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse to replace anything unasked, and anything that is not a bundle folder ever.

    Raises:
        InvalidOptionError: A bundle may not be written to `target`.
    """
    if not os.path.lexists(target):
        return
    if not overwrite:
        msg = f"{target.name} already exists; pass overwrite=True to replace it"
        raise InvalidOptionError(msg)
    known = {*LISTED_NAMES, PROBE_NAME, MANIFEST_NAME, DIGEST_NAME, SIGNATURE_NAME}
    if (
        target.is_symlink()
        or not target.is_dir()
        or any(e.name not in known and not is_compiled_embed(e.name) for e in target.iterdir())
    ):
        msg = f"{target.name} is not a bundle folder; it is not replaced"
        raise InvalidOptionError(msg)


def _publish(draft_folder: Path, target: Path, *, overwrite: bool) -> None:
    """Rename into place; with `overwrite`, swap the two folders in one step where Linux can."""
    if not os.path.lexists(target):
        draft_folder.rename(target)
        return
    check_target(target, overwrite=overwrite)  # it may have come while we wrote
    if _exchange(draft_folder, target):
        return
    old = draft_folder.with_suffix(".old")
    target.rename(old)
    try:
        draft_folder.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths by renameat2; False where the system or the file system has no such call."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    done = libc.renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    return bool(done == 0)
