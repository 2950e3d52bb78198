"""The commands around the service, up to the point where processes start."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("cryptography", reason="needs the extra secure")

from typer.testing import CliRunner

from edge_sdk import open_bundle
from edge_sdk.cli.app import app
from edge_sdk.signing import SigningKey
from federated.service import join as join_module
from federated.service import serve as serve_module
from tests.support.signing import policy
from tests.support.tiny import rewrite

if TYPE_CHECKING:
    from pathlib import Path

    from federated.service.config import CoordinatorConfig
    from federated.service.join import JoinOptions


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["federated", *map(str, arguments)])
    return result.exit_code, result.output


def test_from_a_config_to_a_registered_device(tmp_path: Path) -> None:
    assert run("init", "--set", "server.min_clients=2")[0] == 0
    assert "min_clients = 2\n" in (tmp_path / "coordinator.toml").read_text()
    assert run("init")[0] == 1  # it is not written over
    for arguments in (
        ("keys", "device.key"),
        ("register", "coordinator.toml", "ann", "device.key.pub"),
        ("certificates", "coordinator.toml", "--renew"),
    ):
        status, output = run(*arguments)
        assert status == 0, output
    status, output = run("devices", "coordinator.toml", "--json")
    assert status == 0
    assert list(json.loads(output)["clients"]) == ["ann"]
    assert "ann" in run("devices", "coordinator.toml")[1]
    assert run("revoke", "coordinator.toml", "ann") == (0, "ann: revoked\n")
    assert json.loads(run("devices", "coordinator.toml", "--json")[1]) == {
        "clients": {},
        "num_revoked": 1,
    }
    assert (tmp_path / "deployment" / "ca.pem").is_file()


def test_serve_signs_what_the_rounds_wrote_and_keeps_the_key(
    tiny_labelled_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SigningKey.generate()
    key.write(tmp_path / "release.pem")
    given: list[CoordinatorConfig] = []

    def serve(config: CoordinatorConfig, *, say: object) -> dict[str, Any]:
        del say
        given.append(config)
        rewrite(tiny_labelled_bundle, tmp_path / "next-bundle", version=2)
        return {"rounds": [1, 2, 3], "bundle_digest": "d", "evaluation": None}

    monkeypatch.setattr(serve_module, "serve", serve)
    run("init")
    status, output = run("serve", "coordinator.toml", "--key", "release.pem")
    assert status == 0, output
    assert "rounds done: 3\nnew bundle:" in output
    assert open_bundle(tmp_path / "next-bundle", trust=policy(key)).manifest.version == 2
    assert "release" not in repr(given)


def test_join_is_given_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[JoinOptions] = []
    monkeypatch.setattr(join_module, "join", lambda options, **_: given.append(options))
    status, output = run(
        "join", "localhost:9", "--client", "ann", "--home", "homes/ann", "--bundle", "b",
        "--ca", "ca.pem", "--key", "k", "--consent-id", "c-1",
    )  # fmt: skip
    assert status == 0, output
    (options,) = given
    assert options.client.home == str(tmp_path / "homes" / "ann")
    assert options.client.bundle == str(tmp_path / "b")
    assert options.client.consent_id == "c-1"
    assert str(options.folder) == "homes/ann.node"


def test_join_says_what_is_missing() -> None:
    status, output = run(
        "join", "localhost:9", "--client", "ann", "--home", "h", "--bundle", "b",
        "--ca", "ca.pem", "--key", "k",
    )  # fmt: skip
    assert status == 1
    assert "there is no certificate at ca.pem" in output
