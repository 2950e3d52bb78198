"""`edge-sdk federated roster`: identity keys of devices, and the list that an authority signs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_sdk.errors import InvalidOptionError

if TYPE_CHECKING:
    from federated.secure.options import MaskingOptions

RosterFile = Annotated[
    Path | None,
    typer.Option(
        "--roster",
        help="Makes rounds masked: the identity keys of all clients, signed by the authority.",
        show_default=False,
    ),
]
Authority = Annotated[
    Path | None,
    typer.Option(
        "--authority", help="Public key (PEM) of who signed the roster.", show_default=False
    ),
]
Identities = Annotated[
    Path | None,
    typer.Option(
        "--identities",
        help="Folder with each client's identity key, NAME.pem, for masked rounds.",
        show_default=False,
    ),
]
GroupSize = Annotated[
    int, typer.Option("--group-size", help="Members of a group of masked rounds, about.")
]

roster_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Who may take part in masked rounds: keys of devices, signed by an authority that is not "
    "the coordinator.",
)


@roster_app.command("key")
def key_command(
    out: Annotated[Path, typer.Argument(help="File of the private key; must not exist.")],
) -> None:
    """Make an identity key of a device, or the key of the authority, on the machine that keeps it.

    OUT is secret (mode 0600). OUT.pub goes to the authority, or to all devices.
    """
    from edge_sdk.signing import SigningKey

    public = SigningKey.generate().write(out)
    typer.echo(f"{out} is secret; give away {public}")


@roster_app.command("write")
def write_command(
    *,
    authority: Annotated[Path, typer.Option("--authority", help="The authority's private key.")],
    out: Annotated[Path, typer.Option("--out", help="The roster; must not exist.")],
    client: Annotated[
        list[str] | None,
        typer.Option("--client", help="ID=FILE: a client and its public key; once a client."),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Go on from this roster of the same authority.", show_default=False
        ),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="A client that is no longer enrolled.")
    ] = None,
) -> None:
    """Sign the list of clients and their identity keys. Devices and coordinator get the file."""
    from edge_sdk.ed25519 import public_key_of_pem, read_pem
    from edge_sdk.signing import SigningKey
    from federated.secure.roster import Roster

    key = SigningKey.read(authority)
    keys = {} if base is None else dict(Roster.read(base, key.public_key).keys)
    for client_id in remove or []:
        if keys.pop(client_id, None) is None:
            msg = f"{client_id} is not in the roster"
            raise InvalidOptionError(msg)
    for entry in client or []:
        client_id, equals, path = entry.partition("=")
        if not equals:
            msg = f"--client must be ID=FILE, got {entry!r}"
            raise InvalidOptionError(msg)
        if client_id in keys:
            msg = f"{client_id} is there already; remove it first to give it another key"
            raise InvalidOptionError(msg)
        keys[client_id] = public_key_of_pem(read_pem(path, "public"))
    if not keys:
        msg = "the roster would be empty; enrol at least one client"
        raise InvalidOptionError(msg)
    Roster(keys).write(out, key)
    typer.echo(f"{out}: {len(keys)} clients")


@roster_app.command("show")
def show_command(
    roster: Annotated[Path, typer.Argument(help="The roster.")],
    *,
    authority: Annotated[Path, typer.Option("--authority", help="The authority's public key.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a roster's signature and list its clients."""
    from edge_sdk.ed25519 import public_key_of_pem, read_pem
    from federated.secure.roster import Roster

    known = Roster.read(roster, public_key_of_pem(read_pem(authority, "public"))).keys
    if json_output:
        listed = {client: key.hex() for client, key in known.items()}
        typer.echo(json.dumps(listed, indent=1, sort_keys=True))
        return
    for client, key in sorted(known.items()):
        typer.echo(f"{client} {key.hex()}")


def masking_options(
    roster: Path | None, authority: Path | None, group_size: int, stage_deadline_s: float
) -> MaskingOptions | None:
    """What the options of a command make of masked rounds; None without a roster.

    Raises:
        InvalidOptionError: There is no authority to check the roster with.
    """
    from federated.secure.options import MaskingOptions

    if roster is None:
        return None
    if authority is None:
        msg = "--roster needs --authority: the public key of who signed it"
        raise InvalidOptionError(msg)
    return MaskingOptions(
        roster=str(roster.resolve()),
        authority=str(authority.resolve()),
        group_size=group_size,
        stage_deadline_s=stage_deadline_s,
    )
