"""`edge-sdk keygen`, `sign` and `verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("typer", reason="needs the extra cli")
pytest.importorskip("cryptography", reason="needs the extra secure")

from typer.testing import CliRunner

from edge_sdk.cli.app import app
from edge_sdk.signing import SigningKey
from tests.support.signing import edit_manifest, release

if TYPE_CHECKING:
    from click.testing import Result


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "release.pem"
    assert run("keygen", path).exit_code == 0
    return path


def public(key: Path) -> Path:
    return Path(f"{key}.pub")


def test_keygen_sign_verify(tiny_bundle: Path, key: Path) -> None:
    assert "PRIVATE KEY" in key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600
    assert run("keygen", key).exit_code == 1
    signed = run("sign", tiny_bundle, "--key", key)
    assert signed.output == "signed tiny-prototypical, version 1\n"
    verified = run("verify", tiny_bundle, "--key", public(key))
    assert verified.exit_code == 0
    assert "tiny-prototypical, version 1: every file verified" in verified.output
    assert verified.output.rstrip().endswith(f"signed by {public(key)}")


def test_verify_refuses_with_one_line_and_status_1(
    tiny_bundle: Path, key: Path, tmp_path: Path
) -> None:
    unsigned = run("verify", tiny_bundle, "--key", public(key))
    assert unsigned.exit_code == 1
    assert "manifest.sig is missing" in unsigned.output
    run("sign", tiny_bundle, "--key", key)
    other = tmp_path / "other.pem"
    run("keygen", other)
    stranger = run("verify", tiny_bundle, "--key", public(other))
    assert stranger.exit_code == 1
    assert len(stranger.output.splitlines()) == 1
    both = run("verify", tiny_bundle, "--key", public(other), "--key", public(key))
    assert both.exit_code == 0
    edit_manifest(tiny_bundle, version=9)
    assert run("verify", tiny_bundle, "--key", public(key)).exit_code == 1
    assert run("verify", tiny_bundle).exit_code == 2  # a key is asked for


def test_verify_judges_another_day(tiny_bundle: Path, key: Path) -> None:
    release(tiny_bundle, SigningKey.read(key), expires="2031-01-31")
    good = run("verify", tiny_bundle, "--key", public(key), "--at", "2031-01-31", "--json")
    assert json.loads(good.output)["expires"] == "2031-01-31"
    late = run("verify", tiny_bundle, "--key", public(key), "--at", "2031-02-01")
    assert (late.exit_code, "expired after 2031-01-31" in late.output) == (1, True)


def test_verify_remembers_versions_where_it_is_told_to(
    tiny_bundle: Path, key: Path, tmp_path: Path
) -> None:
    options = ("--key", public(key), "--home", tmp_path / "home")
    signer = SigningKey.read(key)
    for version, status in ((2, 0), (1, 1), (2, 0), (3, 0)):
        release(tiny_bundle, signer, version=version)
        assert run("verify", tiny_bundle, *options).exit_code == status
