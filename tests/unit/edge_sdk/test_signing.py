"""Keys and signatures: private files, no secret in texts, and signing changes nothing else."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("cryptography", reason="needs the extra secure")

from edge_sdk import TrustedKey, open_bundle
from edge_sdk.errors import BadBundleError, InvalidOptionError
from edge_sdk.signing import SigningKey, sign_bundle
from tests.conftest import GOLDEN
from tests.support.signing import policy

if TYPE_CHECKING:
    from pathlib import Path


def test_keys_are_written_and_read_back(tmp_path: Path) -> None:
    key = SigningKey.generate()
    public = key.write(tmp_path / "release.pem")
    assert public == tmp_path / "release.pem.pub"
    assert (tmp_path / "release.pem").stat().st_mode & 0o777 == 0o600
    assert SigningKey.read(tmp_path / "release.pem").sign(b"m") == key.sign(b"m")
    trusted = TrustedKey.read(public)
    assert (trusted.name, trusted.public_key) == ("release.pem.pub", key.public_key)


@pytest.mark.parametrize("taken", ["k", "k.pub"])
def test_no_key_is_ever_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    with pytest.raises(InvalidOptionError, match=f"written to {taken}: File exists"):
        SigningKey.generate().write(tmp_path / "k")
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "mine"


def test_the_secret_is_in_no_text(tmp_path: Path) -> None:
    key = SigningKey.generate()
    assert repr(key) == str(key) == "SigningKey(...)"
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(key)
    key.write(tmp_path / "k")
    assert "PRIVATE" not in (tmp_path / "k.pub").read_text()


@pytest.mark.parametrize(
    "content", [None, b"", b"-----BEGIN PRIVATE KEY-----\nAA==\n", b"\xff" * 9]
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    for read in (SigningKey.read, TrustedKey.read):
        with pytest.raises(InvalidOptionError):
            read(path)


def test_the_two_halves_are_not_mixed_up(tmp_path: Path) -> None:
    public = SigningKey.generate().write(tmp_path / "k")
    with pytest.raises(InvalidOptionError, match="private key"):
        SigningKey.read(public)
    with pytest.raises(InvalidOptionError, match="public key"):
        TrustedKey.read(tmp_path / "k")


def test_openssl_makes_keys_and_checks_signatures_too(tiny_bundle: Path, tmp_path: Path) -> None:
    """The files are plain PKCS #8 and RFC 8032: no tool of ours is needed to check a bundle."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl command")
    private, public = tmp_path / "k.pem", tmp_path / "k.pub"

    def run(*arguments: object) -> None:
        subprocess.run([openssl, *map(str, arguments)], check=True, capture_output=True)

    run("genpkey", "-algorithm", "ed25519", "-out", private)
    run("pkey", "-in", private, "-pubout", "-out", public)
    sign_bundle(tiny_bundle, SigningKey.read(private))
    open_bundle(tiny_bundle, trust=policy(TrustedKey.read(public)))
    run(
        "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin",
        "-in", tiny_bundle / "manifest.json", "-sigfile", tiny_bundle / "manifest.sig",
    )  # fmt: skip
    run("genpkey", "-algorithm", "x25519", "-out", tmp_path / "other.pem")
    with pytest.raises(InvalidOptionError, match="Ed25519 private key"):
        SigningKey.read(tmp_path / "other.pem")
    run("pkey", "-in", private, "-aes256", "-passout", "pass:x", "-out", tmp_path / "locked.pem")
    with pytest.raises(InvalidOptionError, match="password"):
        SigningKey.read(tmp_path / "locked.pem")


def test_a_signature_of_the_first_version_is_still_good() -> None:
    """The golden manifest under the first key of RFC 8032, section 7.1."""
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    signature = bytes.fromhex(
        "592a59488ce480d3d165bf773cab1b33e9ca1ca4ff4c02cc25ff1406bd3fc06b"
        "6ae23bd181e93db7598617115e5cd7e09540cc76a23a0cac4b478746c2f7f108"
    )
    trust = policy(TrustedKey(name="rfc", public_key=public))
    raw_manifest = (GOLDEN / "tiny_gradient" / "manifest.json").read_bytes()
    assert trust.check_signature(raw_manifest, signature).name == "rfc"


def test_signing_adds_one_file_and_changes_no_other(tiny_bundle: Path) -> None:
    before = {path.name: path.read_bytes() for path in tiny_bundle.iterdir()}
    for key in (SigningKey.generate(), SigningKey.generate()):  # again: in place of the first
        bundle = sign_bundle(tiny_bundle, key)
        after = {path.name: path.read_bytes() for path in tiny_bundle.iterdir()}
        assert after.pop("manifest.sig") == key.sign(before["manifest.json"])
        assert after == before
        assert open_bundle(tiny_bundle, trust=policy(key)).digest == bundle.digest
    assert [path.name for path in tiny_bundle.parent.iterdir()] == [tiny_bundle.name]


def test_a_damaged_bundle_is_not_signed(tiny_bundle: Path) -> None:
    (tiny_bundle / "init.onnx").write_bytes(b"")
    with pytest.raises(BadBundleError, match=r"init\.onnx"):
        sign_bundle(tiny_bundle, SigningKey.generate())
    assert not (tiny_bundle / "manifest.sig").exists()
    assert [path.name for path in tiny_bundle.parent.iterdir()] == [tiny_bundle.name]


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_full_disk_leaves_the_old_signature(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    sign_bundle(tiny_bundle, SigningKey.generate())
    before = (tiny_bundle / "manifest.sig").read_bytes()
    real = os.open

    def fail(*args: Any, **options: Any) -> int:
        if call == "open" and not str(args[0]).endswith(".tmp"):
            return real(*args, **options)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(InvalidOptionError, match="No space left"):
        sign_bundle(tiny_bundle, SigningKey.generate())
    monkeypatch.undo()
    assert (tiny_bundle / "manifest.sig").read_bytes() == before
    assert [path.name for path in tiny_bundle.parent.iterdir()] == [tiny_bundle.name]
