"""The bundles that come with the SDK: an app starts with one of them, without training anything.

They lie in `bundles/`, which an installed package holds as `edge_sdk/bundles/`; `zoo.json`, beside
this file, pins the digest of each. `edge-sdk export zoo` makes both.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path

from edge_sdk.bundle import Bundle, open_bundle
from edge_sdk.durable import sync_folder, write_new
from edge_sdk.errors import BadBundleError, InvalidOptionError
from edge_sdk.manifest import DIGEST_NAME, MANIFEST_NAME
from edge_sdk.paths import as_path
from edge_sdk.strict_json import decode

PINS_NAME = "zoo.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def pretrained_names() -> tuple[str, ...]:
    """Names of the bundles that `pretrained` opens, sorted."""
    return tuple(sorted(_pins()))


def pretrained(name: str) -> Bundle:
    """Open a bundle that came with the SDK; no network, no training.

    Its digest must be the one that this version of the SDK pins. What it was trained on, under
    which licence, and how well it does is in its model card (`bundle.files["MODEL_CARD.md"]`) and
    in `bundle.manifest.provenance`.

    Args:
        name: One of `pretrained_names()`, such as "omniglot-prototypical".

    Returns:
        The verified bundle, for `Personalizer` or `Engine`.

    Raises:
        InvalidOptionError: No bundle has this name; the message lists those there are.
        BadBundleError: It is missing, damaged, or not the one that came with this version.
    """
    pins = _pins()
    pinned = next((digest for known, digest in pins.items() if known == name), None)
    if pinned is None:
        msg = f"no pretrained bundle has this name; there are {', '.join(sorted(pins))}"
        raise InvalidOptionError(msg)
    try:
        bundle = open_bundle(_folder() / name)
    except BadBundleError as error:
        msg = f"the pretrained bundle {name} is damaged: {error}; install edge-sdk again"
        raise BadBundleError(msg) from error
    if bundle.digest != pinned:
        msg = (
            f"the pretrained bundle {name} is not the one that came with this version; "
            "install edge-sdk again"
        )
        raise BadBundleError(msg)
    return bundle


def copy_pretrained(name: str, destination: str | os.PathLike[str]) -> Path:
    """Write a bundle that came with the SDK as a folder of its own, for an app to ship.

    Args:
        name: As for `pretrained`.
        destination: The folder to make; its parents are made too.

    Returns:
        The folder.

    Raises:
        InvalidOptionError: As for `pretrained`, or `destination` exists or cannot be written.
        BadBundleError: As for `pretrained`.

    On any error `destination` is what it was before.
    """
    bundle = pretrained(name)
    target = as_path(destination, name="destination")
    if os.path.lexists(target):
        msg = "destination already exists; name a folder that does not"
        raise InvalidOptionError(msg)
    files = {
        **bundle.files,
        MANIFEST_NAME: bundle.raw_manifest,
        DIGEST_NAME: f"{bundle.digest}\n".encode("ascii"),
    }
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        partial.mkdir(parents=True)
        for file_name, data in files.items():
            write_new(partial / file_name, data, mode=0o666)
        sync_folder(partial)
        partial.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        msg = f"destination cannot be written: {error.strerror}"
        raise InvalidOptionError(msg) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # gone already where it was renamed
    return target


def _pins() -> dict[str, str]:
    """Name of each bundle to its digest."""
    data = Path(__file__).with_name(PINS_NAME).read_bytes()
    return decode(data, file_name=PINS_NAME).mapping(lambda place: place.match(_DIGEST))


def _folder() -> Path:
    """Where the bundles are: inside the package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "bundles"
    return inside if inside.is_dir() else package.parent / "bundles"
