"""Signed bundles through the C library: the verdicts of Python's reader, in the same words."""

from __future__ import annotations

import ctypes
import datetime as dt
import os
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("cryptography", reason="needs the extra secure")

from edge_sdk import open_bundle
from edge_sdk.accepted import Accepted, AcceptedVersions
from edge_sdk.errors import BadBundleError
from edge_sdk.signing import SigningKey, sign_bundle
from tests.support.signing import TODAY, edit_manifest, policy, release, replace_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.embedding import Build

KEY, OTHER, STRANGER = (SigningKey.generate() for _ in range(3))
NEWEST = Accepted(version=3, digest="ab" * 32)


class Trust(ctypes.Structure):
    """`edge_trust`."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("keys", ctypes.c_char_p),
        ("num_keys", ctypes.c_size_t),
        ("today", ctypes.c_char_p),
        ("newest_version", ctypes.c_int64),
        ("newest_digest", ctypes.c_char_p),
    )


class CReader:
    """`edge_bundle_open_trusted` of the installed library, with `KEY` and `OTHER`."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(os.fspath(library))
        for name in ("edge_last_error", "edge_status_name", "edge_bundle_digest"):
            getattr(self._library, name).restype = ctypes.c_char_p
        for name in ("edge_bundle_digest", "edge_bundle_close"):
            getattr(self._library, name).argtypes = [ctypes.c_void_p]

    def open(self, folder: Path, newest: Accepted | None) -> tuple[str, str]:
        """`ok` and the digest, or the status and the message."""
        trust = Trust()
        self._library.edge_trust_init(ctypes.byref(trust))
        trust.keys, trust.num_keys = KEY.public_key + OTHER.public_key, 2
        trust.today = TODAY.isoformat().encode("ascii")
        if newest is not None:
            trust.newest_version, trust.newest_digest = newest.version, newest.digest.encode()
        handle = ctypes.c_void_p()
        status = self._library.edge_bundle_open_trusted(
            os.fsencode(folder), ctypes.byref(trust), ctypes.byref(handle)
        )
        name: bytes = self._library.edge_status_name(status)
        if status != 0:
            assert not handle.value
            return name.decode(), self._library.edge_last_error().decode()
        digest: bytes = self._library.edge_bundle_digest(handle)
        self._library.edge_bundle_close(handle)
        return name.decode(), digest.decode()


@pytest.fixture(scope="module")
def c_reader(installed_sdk: Build) -> CReader:
    return CReader(next(installed_sdk.prefix.glob("lib*/libedge_sdk.so")))


def python_verdict(folder: Path, home: Path | None) -> tuple[str, str]:
    """The same of Python's reader."""
    try:
        return "ok", open_bundle(folder, trust=policy(KEY, OTHER, home=home)).digest
    except BadBundleError as error:
        return error.code, str(error)


def tamper_with_signature(folder: Path) -> None:
    signature = bytearray((folder / "manifest.sig").read_bytes())
    signature[40] ^= 1
    (folder / "manifest.sig").write_bytes(signature)


CASES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "signed": ("ok", lambda p: None),  # noqa: ARG005
    "by the other key": ("ok", lambda p: release(p, OTHER)),
    "on its last day": ("ok", lambda p: release(p, KEY, expires=TODAY.isoformat())),
    "not signed": ("bad_signature", lambda p: (p / "manifest.sig").unlink()),
    "by a stranger": ("bad_signature", lambda p: release(p, STRANGER)),
    "changed afterwards": ("bad_signature", lambda p: edit_manifest(p, version=2)),
    "damaged signature": ("bad_signature", tamper_with_signature),
    "expired": (
        "expired_bundle",
        lambda p: release(p, KEY, expires=(TODAY - dt.timedelta(days=1)).isoformat()),
    ),
    "graph exchanged": ("bad_bundle", lambda p: (p / "init.onnx").write_bytes(b"x")),
    "no manifest, signed": ("bad_signature", lambda p: (p / "manifest.json").write_bytes(b"{")),
}


@pytest.mark.parametrize(("status", "damage"), CASES.values(), ids=CASES)
def test_both_judge_a_signed_bundle_alike(
    c_reader: CReader, tiny_bundle: Path, status: str, damage: Callable[[Path], object]
) -> None:
    sign_bundle(tiny_bundle, KEY)
    damage(tiny_bundle)
    found = c_reader.open(tiny_bundle, None)
    want = python_verdict(tiny_bundle, None)
    assert found[0] == want[0] == status
    if status == "ok":
        assert found == want
    else:
        assert found[1].split(":")[0].split()[0] == want[1].split(":")[0].split()[0]


@pytest.mark.parametrize(
    ("version", "status"), [(2, "older_bundle"), (3, "older_bundle"), (4, "ok")]
)
def test_both_refuse_a_version_that_is_not_newer(
    c_reader: CReader, tiny_bundle: Path, tmp_path: Path, version: int, status: str
) -> None:
    release(tiny_bundle, KEY, version=version)
    name = open_bundle(tiny_bundle).manifest.name
    AcceptedVersions(tmp_path / "device").accept(name, NEWEST)
    assert c_reader.open(tiny_bundle, NEWEST)[0] == status
    assert python_verdict(tiny_bundle, tmp_path / "device")[0] == status
    same = Accepted(version=version, digest=open_bundle(tiny_bundle).digest)
    assert c_reader.open(tiny_bundle, same)[0] == "ok"


def test_nothing_is_parsed_before_its_signature(c_reader: CReader, tiny_bundle: Path) -> None:
    sign_bundle(tiny_bundle, KEY)
    for raw in (b"", b"\xff", b"[" * 1000, (tiny_bundle / "manifest.json").read_bytes() + b" "):
        (tiny_bundle / "manifest.json").write_bytes(raw)
        assert c_reader.open(tiny_bundle, None)[0] == "bad_signature"


def test_a_file_that_the_signed_manifest_lists_otherwise(
    c_reader: CReader, tiny_bundle: Path
) -> None:
    """A digest made right in the manifest is no help without the key."""
    sign_bundle(tiny_bundle, KEY)
    replace_file(tiny_bundle, "MODEL_CARD.md", b"# Better\n")
    assert c_reader.open(tiny_bundle, None)[0] == "bad_signature"
