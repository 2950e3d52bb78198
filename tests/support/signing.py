"""Keys, clocks and forgeries for tests of signed bundles. Needs cryptography."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import TYPE_CHECKING, Any

from edge_sdk.signing import SigningKey, sign_bundle
from edge_sdk.trust import Clock, TrustedKey, TrustPolicy

if TYPE_CHECKING:
    import os
    from pathlib import Path

TODAY = dt.date(2030, 6, 15)


def clock_at(day: dt.date) -> Clock:
    """A clock that stands still at noon, UTC."""
    noon = dt.datetime.combine(day, dt.time(12), tzinfo=dt.UTC)
    return lambda: noon


def policy(
    *keys: SigningKey | TrustedKey, home: str | os.PathLike[str] | None = None, day: dt.date = TODAY
) -> TrustPolicy:
    """Trust these keys, named key0, key1 ..."""
    trusted = [
        key.trusted(f"key{i}") if isinstance(key, SigningKey) else key for i, key in enumerate(keys)
    ]
    return TrustPolicy(keys=trusted, home=home, clock=clock_at(day))


def edit_manifest(bundle: Path, **changes: Any) -> None:
    """Change the manifest and its digest, and leave the signature as it is: a tamperer."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    data = json.dumps({**manifest, **changes}, indent=1, sort_keys=True).encode() + b"\n"
    replace_manifest(bundle, data)


def replace_manifest(bundle: Path, data: bytes) -> None:
    """Write the manifest's bytes and their digest."""
    (bundle / "manifest.json").write_bytes(data)
    (bundle / "manifest.sha256").write_text(hashlib.sha256(data).hexdigest() + "\n")


def replace_file(bundle: Path, name: str, data: bytes) -> None:
    """Put other bytes into a listed file, and their size and digest into the manifest."""
    (bundle / name).write_bytes(data)
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    edit_manifest(bundle, files=files)


def release(bundle: Path, key: SigningKey, **changes: Any) -> None:
    """Change the manifest and sign it: the bundle's own maker."""
    edit_manifest(bundle, **changes)
    sign_bundle(bundle, key)
