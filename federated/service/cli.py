"""`edge-sdk federated init, certificates, keys, register, revoke, devices, serve, join`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.errors import InvalidOptionError

Config = Annotated[Path, typer.Argument(help="The coordinator's TOML file.", show_default=False)]
ClientId = Annotated[
    str, typer.Argument(help="The client (user) that the device speaks for.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

_DEFAULT_PATIENCE_S = 90.0


def add_commands(app: typer.Typer) -> None:
    """Add the commands of the service to `edge-sdk federated`."""
    for name, command in (
        ("init", init_command),
        ("trial", trial_command),
        ("certificates", certificates_command),
        ("keys", keys_command),
        ("register", register_command),
        ("revoke", revoke_command),
        ("devices", devices_command),
        ("serve", serve_command),
        ("join", join_command),
    ):
        app.command(name)(command)


def init_command(
    config: Annotated[Path, typer.Argument(help="File to write; must not exist.")] = Path(
        "coordinator.toml"
    ),
    *,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="A value other than the default's, as in TOML; give it once a key.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a coordinator's config: every key with its default and what it means."""
    from edge_sdk.durable import write_new
    from federated.service.default_config import default_config

    text = default_config(changes or [])
    try:
        write_new(config, text.encode(), mode=0o644)
    except FileExistsError as error:
        msg = f"{config} exists; name another file"
        raise InvalidOptionError(msg) from error
    except OSError as error:
        msg = f"{config} cannot be written: {error.strerror}"
        raise InvalidOptionError(msg) from error
    typer.echo(f"{config}: every key that can be set, with what it means")


def trial_command(
    users: Annotated[list[str], typer.Argument(help="Names of the users.", show_default=False)],
    *,
    folder: Annotated[Path, typer.Option(help="Where to make them.")] = Path(),
    seed: Annotated[int, typer.Option(help="Of the users' hands.")] = 0,
) -> None:
    """Make a bundle, and invented users who taught their devices, to try the service out with."""
    from federated.service.trial import SIGNS, make_trial

    make_trial(folder, users, seed=seed)
    who = f"{len(users)} users have" if len(users) > 1 else f"{users[0]} has"
    typer.echo(f"{who} taught {', '.join(SIGNS)}: {folder / 'homes'}")


def certificates_command(
    config: Config,
    *,
    renew: Annotated[
        bool, typer.Option("--renew", help="Make a new certificate in place of a valid one.")
    ] = False,
) -> None:
    """Make the server's TLS certificate, and its authority (ca.pem, which devices are given)."""
    from federated.service.certificates import ensure_certificates, issue_certificate
    from federated.service.config import read_config
    from federated.service.files import DeploymentFiles

    options = read_config(config).deployment
    files = DeploymentFiles.of(options)
    if renew:
        issue_certificate(files, options)
    ensure_certificates(files, options)
    typer.echo(f"give devices {files.authority}; keep {files.authority_key} off this host")


def keys_command(
    key: Annotated[Path, typer.Argument(help="File of the private key.", show_default=False)],
) -> None:
    """Make a device's keys, on the device: KEY stays there, KEY.pub is registered."""
    from federated.service.roster import make_keys

    typer.echo(f"{make_keys(key)}: to be registered by the coordinator")


def register_command(
    config: Config,
    client_id: ClientId,
    public_key: Annotated[Path, typer.Argument(help="KEY.pub of the device.", show_default=False)],
) -> None:
    """Let a device join, as one client. A service that runs follows within a second."""
    from federated.service.certificates import ensure_certificates
    from federated.service.config import read_config
    from federated.service.files import DeploymentFiles
    from federated.service.roster import read_public_key, register

    options = read_config(config).deployment
    files = DeploymentFiles.of(options)
    register(files.roster, client_id, read_public_key(public_key))
    ensure_certificates(files, options)
    typer.echo(f"{client_id}: registered; its device needs {files.authority}")


def revoke_command(config: Config, client_id: ClientId) -> None:
    """Let a device join no more, for good: the client needs a new key to come back."""
    from federated.service.config import read_config
    from federated.service.files import DeploymentFiles
    from federated.service.roster import revoke

    revoke(DeploymentFiles.of(read_config(config).deployment).roster, client_id)
    typer.echo(f"{client_id}: revoked")


def devices_command(config: Config, *, json_output: Json = False) -> None:
    """List the clients whose device may join."""
    from federated.service.config import read_config
    from federated.service.files import DeploymentFiles
    from federated.service.roster import read_roster

    roster = read_roster(DeploymentFiles.of(read_config(config).deployment).roster)
    if json_output:
        content = {"clients": roster.clients, "num_revoked": len(roster.revoked)}
        typer.echo(json.dumps(content, indent=1, sort_keys=True))
        return
    for client_id in sorted(roster.clients):
        typer.echo(client_id)
    typer.echo(f"{len(roster.clients)} registered, {len(roster.revoked)} keys revoked", err=True)


def serve_command(
    config: Config,
    *,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", help="Private key (PEM) to sign the new bundle with.", show_default=False
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """Run the rounds of CONFIG with the devices that join; the same command goes on after a stop.

    The signing key does not leave this process: it signs what the rounds wrote.
    """
    from edge_sdk.signing import SigningKey, sign_bundle
    from federated.evaluation.cli import outcome
    from federated.evaluation.run import EvaluationReport
    from federated.processes import end_on_sigterm
    from federated.service.config import read_config
    from federated.service.serve import serve

    signing_key = None if key is None else SigningKey.read(key)
    read = read_config(config)
    end_on_sigterm()
    report = serve(read, say=lambda line: typer.echo(line, err=True))
    if signing_key is not None and report["bundle_digest"] is not None:
        sign_bundle(read.server.out, signing_key)
    if json_output:
        typer.echo(json.dumps(report, indent=1, sort_keys=True))
    else:
        judged = report["evaluation"]
        found = None if judged is None else EvaluationReport.read(judged)
        typer.echo(f"rounds done: {len(report['rounds'])}")
        typer.echo(outcome(found, Path(read.server.out)))


def join_command(
    superlink: Annotated[str, typer.Argument(help="The service, HOST:PORT.", metavar="SUPERLINK")],
    *,
    client_id: Annotated[str, typer.Option("--client", help="Whose device this is.")],
    home: Annotated[Path, typer.Option("--home", help="The user's Personalizer home.")],
    bundle: Annotated[Path, typer.Option("--bundle", help="The bundle's folder.")],
    authority: Annotated[Path, typer.Option("--ca", help="ca.pem of the service.")],
    key: Annotated[Path, typer.Option("--key", help="The device's private key.")],
    folder: Annotated[
        Path | None,
        typer.Option(help="Logs and Flower's files; beside HOME.", show_default=False),
    ] = None,
    home_key: Annotated[
        Path | None,
        typer.Option(help="File with the key of an encrypted HOME.", show_default=False),
    ] = None,
    consent_id: Annotated[
        str, typer.Option(help="Consent under which updates leave, for the audit log.")
    ] = "",
    identity_key: Annotated[
        Path | None,
        typer.Option(help="Private identity key; for masked rounds.", show_default=False),
    ] = None,
    roster: Annotated[
        Path | None,
        typer.Option(help="All clients' identity keys; for masked rounds.", show_default=False),
    ] = None,
    roster_authority: Annotated[
        Path | None,
        typer.Option(help="Public key of who signed the roster.", show_default=False),
    ] = None,
    min_members: Annotated[int, typer.Option(help="Least members of a group to be in.")] = 3,
    min_noise_multiplier: Annotated[
        float, typer.Option(help="Least distributed noise of a masked round to be in.")
    ] = 0.0,
    local_epsilon: Annotated[
        float, typer.Option(help="This device's own privacy budget (local noise); 0 has none.")
    ] = 0.0,
    local_delta: Annotated[float, typer.Option(help="Of that budget.")] = 1e-5,
    patience_s: Annotated[
        float, typer.Option(help="How long to try again where the key is refused, seconds.")
    ] = _DEFAULT_PATIENCE_S,
) -> None:
    """Take part in a service's rounds with this device, until this command is ended."""
    from federated.processes import end_on_sigterm
    from federated.service.join import JoinOptions, join
    from federated.settings import ClientSettings

    end_on_sigterm()
    client = ClientSettings(
        client_id=client_id,
        bundle=str(bundle.resolve()),
        home=str(home.resolve()),
        key_file=_absolute(home_key),
        consent_id=consent_id,
        identity_key=_absolute(identity_key),
        roster=_absolute(roster),
        authority=_absolute(roster_authority),
        min_members=min_members,
        min_noise_multiplier=min_noise_multiplier,
        local_epsilon=local_epsilon,
        local_delta=local_delta,
    )
    options = JoinOptions(
        superlink=superlink,
        authority=authority,
        key=key,
        client=client,
        folder=home.with_name(f"{home.name}.node") if folder is None else folder,
        patience_s=patience_s,
    )
    join(options, say=lambda line: typer.echo(line, err=True))


def _absolute(path: Path | None) -> str:
    return "" if path is None else str(path.resolve())
