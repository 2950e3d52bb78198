"""`--key` of the federated commands: what they write is signed, and a wrong key costs no work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("cryptography", reason="needs the extra secure")

from typer.testing import CliRunner

from edge_sdk import open_bundle
from edge_sdk.cli.app import app
from edge_sdk.signing import SigningKey
from edge_sdk.store import FILE_NAME
from federated import deploy
from tests.support.signing import policy
from tests.support.tiny import rewrite

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    made = SigningKey.generate()
    made.write(tmp_path / "release.pem")
    return made


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["federated", *map(str, arguments)])
    return result.exit_code, result.output


def test_label_signs(tiny_bundle: Path, tmp_path: Path, key: SigningKey) -> None:
    out = tmp_path / "named"
    status, output = run(
        "label", tiny_bundle, "--label", "circle", "--out", out, "--key", tmp_path / "release.pem"
    )
    assert status == 0, output
    assert open_bundle(out, trust=policy(key)).signed_by == "key0"


def test_simulate_signs_both_versions(
    patches_bundle: Path, tmp_path: Path, key: SigningKey
) -> None:
    out = tmp_path / "new"
    status, output = run(
        "simulate", patches_bundle, "--tasks", "digits", "--writers", 3, "--held-out", 2,
        "--images", 2, "--rounds", 1, "--cohort", 2, "--out", out,
        "--key", tmp_path / "release.pem",
    )  # fmt: skip
    assert status == 0, output
    for folder in (out, tmp_path / "new-start"):
        assert open_bundle(folder, trust=policy(key)).signed_by == "key0"


def test_run_signs_after_the_rounds_and_keeps_the_key_from_flower(
    tiny_labelled_bundle: Path, tmp_path: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes, out = tmp_path / "homes", tmp_path / "new"
    (homes / "user").mkdir(parents=True)
    (homes / "user" / FILE_NAME).touch()
    given: list[Any] = []

    def rounds(
        bundle: Path, users: object, out: Path, *options: object, **__: object
    ) -> dict[str, Any]:
        given.extend([bundle, users, out, *options])
        rewrite(bundle, out, version=2)
        return {"rounds": [], "evaluation": None, "bundle_digest": "new"}

    monkeypatch.setattr(deploy, "run_on_loopback", rounds)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    status, output = run(
        "run", "--bundle", tiny_labelled_bundle, "--homes", homes, "--out", out,
        "--key", tmp_path / "release.pem",
    )  # fmt: skip
    assert status == 0, output
    assert open_bundle(out, trust=policy(key)).manifest.version == 2
    assert "release" not in repr(given)


def test_a_wrong_key_is_refused_before_the_work(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_work(*_: object, **__: object) -> None:
        pytest.fail("it works")

    monkeypatch.setattr(deploy, "run_on_loopback", no_work)
    monkeypatch.setattr("federated.next_bundle.name_labels", no_work)
    (tmp_path / "wrong.pem").write_text("no key")
    wrong = ["--out", tmp_path / "new", "--key", tmp_path / "wrong.pem"]
    for command in (
        ["label", tiny_bundle, "--label", "a", *wrong],
        ["run", "--bundle", tiny_bundle, "--homes", tmp_path, *wrong],
        ["simulate", tiny_bundle, *wrong],
    ):
        status, output = run(*command)
        assert status == 1
        assert "Ed25519" in output
    assert not (tmp_path / "new").exists()
