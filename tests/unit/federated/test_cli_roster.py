"""`edge-sdk federated roster`, `changes` and `apply-changes`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from edge_sdk import Engine, open_bundle
from edge_sdk.cli.app import app
from edge_sdk.ed25519 import public_key_of_pem, read_pem
from edge_sdk.signing import SigningKey
from federated.next_bundle import RunSummary, write_next_bundle
from federated.secure.roster import Roster

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["federated", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name in ("authority", "ann", "bob"):
        status, out, _ = run("roster", "key", tmp_path / name)
        assert status == 0
        assert f"{name}.pub" in out.replace("\n", "")
    return tmp_path


def test_an_authority_enrols_devices_and_takes_one_off(keys: Path) -> None:
    assert (keys / "ann").stat().st_mode & 0o077 == 0
    status, _, _ = run(
        "roster", "write", "--authority", keys / "authority", "--out", keys / "roster",
        "--client", f"ann={keys / 'ann.pub'}", "--client", f"bob={keys / 'bob.pub'}",
    )  # fmt: skip
    assert status == 0
    authority = public_key_of_pem(read_pem(keys / "authority.pub", "public"))
    known = Roster.read(keys / "roster", authority).keys
    assert known == {
        "ann": SigningKey.read(keys / "ann").public_key,
        "bob": SigningKey.read(keys / "bob").public_key,
    }
    status, out, _ = run(
        "roster", "show", keys / "roster", "--authority", keys / "authority.pub", "--json"
    )
    assert status == 0
    assert json.loads(out) == {client: key.hex() for client, key in known.items()}
    status, _, _ = run(
        "roster", "write", "--authority", keys / "authority", "--out", keys / "roster-2",
        "--from", keys / "roster", "--remove", "bob",
    )  # fmt: skip
    assert status == 0
    assert set(Roster.read(keys / "roster-2", authority).keys) == {"ann"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--client", "ann"], "ID=FILE"),
        (["--client", "ann={keys}/lost.pub"], "cannot be read"),
        (["--client", "a b={keys}/ann.pub"], "client id"),
        (["--client", "ann={keys}/ann.pub", "--client", "ann={keys}/bob.pub"], "already"),
        (["--client", "ann={keys}/ann.pub", "--client", "bob={keys}/ann.pub"], "same key"),
        ([], "empty"),
    ],
)
def test_a_wrong_roster_is_not_written(keys: Path, arguments: list[str], says: str) -> None:
    filled = [argument.format(keys=keys) for argument in arguments]
    status, _, error = run(
        "roster", "write", "--authority", keys / "authority", "--out", keys / "roster", *filled
    )
    assert status == 1
    assert says in " ".join(error.split())
    assert not (keys / "roster").exists()


def test_another_authoritys_roster_is_not_shown(keys: Path) -> None:
    Roster({"ann": SigningKey.read(keys / "ann").public_key}).write(
        keys / "roster", SigningKey.read(keys / "bob")
    )
    status, _, error = run("roster", "show", keys / "roster", "--authority", keys / "authority.pub")
    assert status == 1
    assert "not signed" in error


@pytest.fixture
def versions(tiny_labelled_bundle: Path, tmp_path: Path) -> tuple[Path, Path, SigningKey]:
    key = SigningKey.generate()
    key.write(tmp_path / "release")
    old = open_bundle(tiny_labelled_bundle)
    moved = Engine(old).initial_state()["prototypes"] + np.float32(0.25)
    summary = RunSummary(
        rounds=1, num_clients=3, cohort_size=3, num_updates=3, clipping_norm=1.0, server_lr=1.0,
        seed=0,
    )  # fmt: skip
    write_next_bundle(tmp_path / "v2", old, {"prototypes": moved}, summary, key=key)
    return tiny_labelled_bundle, tmp_path / "v2", key


def test_a_device_gets_the_new_version_from_a_file_of_changes(
    versions: tuple[Path, Path, SigningKey], tmp_path: Path
) -> None:
    old, new, _ = versions
    status, out, _ = run("changes", old, new, "--out", tmp_path / "download", "--json")
    assert status == 0
    figures = json.loads(out)
    assert figures["bytes"] == (tmp_path / "download").stat().st_size
    assert figures["bytes"] < figures["whole_bytes"]
    assert figures["to"] == open_bundle(new).digest
    status, _, _ = run(
        "apply-changes", old, tmp_path / "download", "--out", tmp_path / "device",
        "--key", tmp_path / "release.pub",
    )  # fmt: skip
    assert status == 0
    assert open_bundle(tmp_path / "device").digest == open_bundle(new).digest


def test_a_damaged_download_or_a_strangers_leaves_nothing(
    versions: tuple[Path, Path, SigningKey], tmp_path: Path
) -> None:
    old, new, _ = versions
    run("changes", old, new, "--out", tmp_path / "download")
    raw = (tmp_path / "download").read_bytes()
    (tmp_path / "damaged").write_bytes(raw[:-1])
    SigningKey.generate().write(tmp_path / "stranger")
    for source, extra, says in (
        ("damaged", (), "damaged"),
        ("lost", (), "cannot be read"),
        ("download", ("--key", tmp_path / "stranger.pub"), "sign"),
        ("download", ("--home", tmp_path / "versions"), "--key"),
    ):
        status, _, error = run(
            "apply-changes", old, tmp_path / source, "--out", tmp_path / "device", *extra
        )
        assert status == 1
        assert says in error
        assert not (tmp_path / "device").exists()
    status, _, error = run("changes", old, new, "--out", tmp_path / "download")
    assert status == 1
    assert "cannot be written" in error
