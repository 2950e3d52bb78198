from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("cryptography", reason="needs the extra secure")

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from edge_sdk.errors import InvalidOptionError
from federated.errors import DeploymentError
from federated.service.roster import make_keys, read_public_key, read_roster, register, revoke

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def roster(tmp_path: Path) -> Path:
    return tmp_path / "roster.json"


def key(tmp_path: Path, name: str) -> str:
    return read_public_key(make_keys(tmp_path / name))


def test_keys_are_for_the_device_alone_and_what_flower_reads(tmp_path: Path) -> None:

    public = make_keys(tmp_path / "keys" / "device.key")
    private = tmp_path / "keys" / "device.key"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    read = load_ssh_private_key(private.read_bytes(), None)
    assert public_key_to_bytes(read.public_key()).decode() == read_public_key(public)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="exists"):
        make_keys(private)


@pytest.mark.parametrize("content", [b"", b"ssh-rsa AAAA", b"\xff"])
def test_what_is_no_key_of_a_device_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pub").write_bytes(content)
    with pytest.raises(InvalidOptionError, match="federated keys"):
        read_public_key(tmp_path / "x.pub")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:

    public = Ed25519PrivateKey.generate().public_key()
    (tmp_path / "x.pub").write_bytes(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    with pytest.raises(InvalidOptionError, match="another kind"):
        read_public_key(tmp_path / "x.pub")


def test_register_and_revoke(tmp_path: Path, roster: Path) -> None:
    ann, bob = key(tmp_path, "ann"), key(tmp_path, "bob")
    assert read_roster(roster).clients == {}
    register(roster, "ann", ann)
    register(roster, "ann", ann)  # said twice is said once
    register(roster, "bob", bob)
    assert read_roster(roster).clients == {"ann": ann, "bob": bob}
    revoke(roster, "ann")
    assert read_roster(roster).clients == {"bob": bob}
    assert read_roster(roster).revoked == (ann,)


def test_what_cannot_be_registered_leaves_the_roster_as_it_was(
    tmp_path: Path, roster: Path
) -> None:
    ann, bob = key(tmp_path, "ann"), key(tmp_path, "bob")
    register(roster, "ann", ann)
    register(roster, "bob", bob)
    revoke(roster, "bob")
    before = roster.read_bytes()
    for client_id, public_key, complaint in (
        ("bob", bob, "was revoked"),
        ("cat", ann, "another client's"),
        ("ann", key(tmp_path, "new"), "revoke it first"),
        ("a b", key(tmp_path, "other"), "client id"),
    ):
        with pytest.raises(InvalidOptionError, match=complaint):
            register(roster, client_id, public_key)
    with pytest.raises(InvalidOptionError, match="no device is registered for 'bob'"):
        revoke(roster, "bob")
    assert roster.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"format": 1}',
        '{"format": 2, "clients": {}, "revoked": []}',
        '{"format": 1, "clients": {"a": 7}, "revoked": []}',
        '{"format": 1, "clients": {}, "revoked": "x"}',
        '{"format": 1, "clients": {}, "revoked": [], "more": 1}',
    ],
)
def test_a_damaged_roster_is_not_taken_for_an_empty_one(roster: Path, content: str) -> None:
    roster.write_text(content)
    with pytest.raises(DeploymentError, match=r"roster\.json is damaged"):
        read_roster(roster)
