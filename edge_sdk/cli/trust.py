"""`edge-sdk keygen`, `sign` and `verify`: who vouches for a bundle."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated

import typer

Bundle = Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def add_commands(app: typer.Typer) -> None:
    """Add the three commands to the root."""
    for command in (keygen, sign, verify):
        app.command()(command)


def keygen(
    out: Annotated[
        Path, typer.Argument(help="File for the private key; must not exist.", show_default=False)
    ],
) -> None:
    """Make a key pair: OUT is secret (mode 0600), OUT.pub is what devices trust."""
    from edge_sdk.signing import SigningKey

    public = SigningKey.generate().write(out)
    typer.echo(f"private key: {out} (keep it off devices and out of repositories)")
    typer.echo(f"public key:  {public}")


def sign(
    bundle: Bundle,
    *,
    key: Annotated[Path, typer.Option(help="Private key, PEM.", show_default=False)],
) -> None:
    """Verify a bundle, then sign its manifest: writes manifest.sig and changes nothing else."""
    from edge_sdk.signing import SigningKey, sign_bundle

    signed = sign_bundle(bundle, SigningKey.read(key))
    typer.echo(f"signed {signed.manifest.name}, version {signed.manifest.version}")


def verify(
    bundle: Bundle,
    *,
    key: Annotated[
        list[Path], typer.Option(help="Public key, PEM; give several to trust any of them.")
    ],
    home: Annotated[
        Path | None,
        typer.Option(
            help="Folder that remembers accepted versions; an older bundle is then refused.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Judge dates on this day (UTC), not today."),
    ] = None,
    json_output: Json = False,
) -> None:
    """Check signature, every file, expiry and graphs; exit status 1 says what is wrong."""
    from edge_sdk.bundle import open_bundle
    from edge_sdk.trust import TrustedKey, TrustPolicy, system_clock

    moment = None if at is None else at.replace(tzinfo=dt.UTC)
    policy = TrustPolicy(
        keys=[TrustedKey.read(path, name=str(path)) for path in key],
        home=home,
        clock=system_clock if moment is None else lambda: moment,
    )
    opened = open_bundle(bundle, trust=policy)
    manifest = opened.manifest
    expires = None if manifest.expires is None else manifest.expires.isoformat()
    if json_output:
        found = {
            "name": manifest.name,
            "version": manifest.version,
            "digest": opened.digest,
            "signed_by": opened.signed_by,
            "expires": expires,
        }
        typer.echo(json.dumps(found, indent=1, sort_keys=True))
        return
    until = "" if expires is None else f", valid through {expires}"
    typer.echo(
        f"{manifest.name}, version {manifest.version}: every file verified, "
        f"signed by {opened.signed_by}{until}"
    )
