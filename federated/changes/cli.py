"""`edge-sdk federated changes` and `apply-changes`: downloads of what changed in a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edge_sdk import open_bundle
from edge_sdk.errors import BadBundleError, InvalidOptionError

_MAX_BYTES = 1 << 30


def changes_command(
    old: Annotated[Path, typer.Argument(help="The bundle that devices hold.")],
    new: Annotated[Path, typer.Argument(help="The version they are to have.")],
    *,
    out: Annotated[Path, typer.Option("--out", help="File for the download; must not exist.")],
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a line.")
    ] = False,
) -> None:
    """Write what a device that holds OLD must download to have NEW, its signature included."""
    from edge_sdk.durable import write_new
    from federated.bundle_changes import changes, whole_size

    before, after = open_bundle(old), open_bundle(new)
    raw = changes(before, after)
    try:
        write_new(out, raw, mode=0o644)
    except OSError as error:
        msg = f"the changes cannot be written to {out}: {error.strerror}"
        raise InvalidOptionError(msg) from error
    figures = {
        "from": before.digest,
        "to": after.digest,
        "bytes": len(raw),
        "whole_bytes": whole_size(after),
    }
    if json_output:
        typer.echo(json.dumps(figures, indent=1, sort_keys=True))
    else:
        typer.echo(f"{out}: {len(raw)} bytes in place of {figures['whole_bytes']}")


def apply_command(
    old: Annotated[Path, typer.Argument(help="The bundle that this device holds.")],
    download: Annotated[Path, typer.Argument(help="What `changes` wrote.")],
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder of the new bundle; must not exist.")],
    key: Annotated[
        list[Path] | None,
        typer.Option(help="Public key, PEM: accept only what it signed.", show_default=False),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            help="With --key: folder that remembers accepted versions; older ones are refused.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make the new bundle from OLD and a download: whole and verified, or not at all."""
    from edge_sdk.trust import TrustedKey, TrustPolicy
    from federated.bundle_changes import apply_changes

    if home is not None and not key:
        msg = "--home remembers versions of signed bundles; give --key too"
        raise InvalidOptionError(msg)
    trust = None
    if key:
        keys = [TrustedKey.read(path, name=str(path)) for path in key]
        trust = TrustPolicy(keys=keys, home=home)
    try:
        with download.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        msg = f"{download} cannot be read: {error.strerror}"
        raise InvalidOptionError(msg) from error
    if len(raw) > _MAX_BYTES:
        msg = f"{download} is larger than the changes of any bundle"
        raise BadBundleError(msg)
    made = apply_changes(open_bundle(old, trust=None), raw, out, trust=trust)
    typer.echo(f"{out}: {made.manifest.name}, version {made.manifest.version}, {made.digest}")
