"""The hostile set against a device that trusts one key: each item is refused by its own error."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("cryptography", reason="needs the extra secure")

from edge_sdk import Personalizer, open_bundle
from edge_sdk.errors import (
    BadBundleError,
    ExpiredBundleError,
    OlderBundleError,
    SignatureError,
)
from edge_sdk.signing import SigningKey, sign_bundle
from edge_sdk.trust import TrustedKey
from tests.support import onnx_wire as wire
from tests.support.signing import (
    TODAY,
    edit_manifest,
    policy,
    release,
    replace_file,
    replace_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
EMPTY = wire.model(wire.graph())


@pytest.fixture
def signed(tiny_bundle: Path) -> Path:
    """Version 2 of the tiny bundle, signed by KEY."""
    release(tiny_bundle, KEY, version=2)
    return tiny_bundle


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "device"


def refused(bundle: Path, home: Path | None, error: type[Exception], naming: str) -> None:
    with pytest.raises(error, match=re.escape(naming)) as caught:
        open_bundle(bundle, trust=policy(KEY, home=home))
    assert type(caught.value) is error


def test_a_signed_bundle_is_opened_and_names_its_signer(signed: Path, home: Path) -> None:
    for _ in range(2):  # the second time it is the newest accepted one
        opened = open_bundle(signed, trust=policy(KEY, home=home))
        assert (opened.signed_by, opened.manifest.version) == ("key0", 2)
    assert open_bundle(signed).signed_by is None


def test_the_personalizer_takes_a_trusted_bundle(signed: Path, home: Path, tmp_path: Path) -> None:
    opened = open_bundle(signed, trust=policy(KEY, home=home))
    with Personalizer(opened, home=tmp_path / "user") as personal:
        assert personal.bundle.signed_by == "key0"


# --- signatures -------------------------------------------------------------------------------


def test_an_unsigned_bundle_is_refused(tiny_bundle: Path, home: Path) -> None:
    refused(tiny_bundle, home, SignatureError, "manifest.sig is missing")


def test_a_strangers_signature_is_refused(signed: Path, home: Path) -> None:
    sign_bundle(signed, STRANGER)
    refused(signed, home, SignatureError, "manifest.sig is not the signature")


def test_a_tampered_manifest_is_refused_before_it_is_parsed(signed: Path, home: Path) -> None:
    edit_manifest(signed, ways=3)
    refused(signed, home, SignatureError, "manifest.sig")
    replace_manifest(signed, b"\xff not JSON at all {{{")
    refused(signed, home, SignatureError, "manifest.sig")


@pytest.mark.parametrize("name", ["init.onnx", "embed.onnx", "adapt.onnx", "MODEL_CARD.md"])
def test_a_tampered_file_is_refused(signed: Path, home: Path, name: str) -> None:
    data = bytearray((signed / name).read_bytes())
    data[len(data) // 2] ^= 1
    (signed / name).write_bytes(data)
    refused(signed, home, BadBundleError, f"{name} does not match its SHA-256")
    replace_file(signed, name, bytes(data))  # and the digests made right: now the signature is not
    refused(signed, home, SignatureError, "manifest.sig")


def test_every_bit_of_the_signature_counts(signed: Path) -> None:
    good = (signed / "manifest.sig").read_bytes()
    for place in range(len(good) * 8):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        (signed / "manifest.sig").write_bytes(bad)
        refused(signed, None, SignatureError, "manifest.sig is not the signature")
    (signed / "manifest.sig").write_bytes(good)
    open_bundle(signed, trust=policy(KEY))


def test_a_signature_plus_the_group_order_is_refused(signed: Path) -> None:
    """S + L satisfies the equation too; RFC 8032 refuses it, or signatures could be varied."""
    order = 2**252 + 27742317777372353535851937790883648493
    good = (signed / "manifest.sig").read_bytes()
    changed = int.from_bytes(good[32:], "little") + order
    (signed / "manifest.sig").write_bytes(good[:32] + changed.to_bytes(32, "little"))
    refused(signed, None, SignatureError, "manifest.sig")


@pytest.mark.parametrize("size", [0, 1, 63])
def test_a_short_signature_is_refused_with_and_without_a_policy(signed: Path, size: int) -> None:
    (signed / "manifest.sig").write_bytes((signed / "manifest.sig").read_bytes()[:size])
    refused(signed, None, SignatureError, f"manifest.sig has {size} bytes")
    with pytest.raises(SignatureError):
        open_bundle(signed)


def test_a_long_signature_is_refused(signed: Path) -> None:
    (signed / "manifest.sig").write_bytes(bytes(65))
    refused(signed, None, BadBundleError, "manifest.sig has 65 bytes")


def test_the_signature_of_another_bundle_is_refused(
    signed: Path, tiny_gradient_bundle: Path
) -> None:
    sign_bundle(tiny_gradient_bundle, KEY)
    shutil.copy(tiny_gradient_bundle / "manifest.sig", signed / "manifest.sig")
    refused(signed, None, SignatureError, "manifest.sig")


# --- keys and days ----------------------------------------------------------------------------


def test_either_key_may_sign_while_keys_change(signed: Path) -> None:
    new = SigningKey.generate()
    both = policy(KEY, new)
    assert open_bundle(signed, trust=both).signed_by == "key0"
    digest = open_bundle(signed).digest
    sign_bundle(signed, new)
    opened = open_bundle(signed, trust=both)
    assert (opened.signed_by, opened.digest) == ("key1", digest)
    refused(signed, None, SignatureError, "manifest.sig")  # a device without the new key


@pytest.mark.parametrize(("days", "naming"), [(-1, "not valid before"), (1, "was valid until")])
def test_a_key_signs_within_its_days_only(signed: Path, days: int, naming: str) -> None:
    key = TrustedKey(name="k", public_key=KEY.public_key, not_before=TODAY, not_after=TODAY)
    open_bundle(signed, trust=policy(key))
    with pytest.raises(SignatureError, match=f"key k .*{naming}|key k {naming}"):
        open_bundle(signed, trust=policy(key, day=TODAY + dt.timedelta(days)))


def test_an_expired_bundle_is_refused_from_the_day_after(signed: Path, home: Path) -> None:
    release(signed, KEY, expires=TODAY.isoformat())
    opened = open_bundle(signed, trust=policy(KEY, home=home))
    assert opened.manifest.expires == TODAY
    with pytest.raises(ExpiredBundleError, match=r"manifest\.json: the bundle expired"):
        open_bundle(signed, trust=policy(KEY, day=TODAY + dt.timedelta(1)))


def test_an_expiry_date_cannot_be_moved(signed: Path) -> None:
    release(signed, KEY, expires="2030-01-01")
    edit_manifest(signed, expires="2099-01-01")
    refused(signed, None, SignatureError, "manifest.sig")


# --- older versions ---------------------------------------------------------------------------


@pytest.fixture
def older(signed: Path, tmp_path: Path) -> Path:
    """Version 1 of the same bundle, signed by KEY."""
    path = Path(shutil.copytree(signed, tmp_path / "older"))
    release(path, KEY, version=1)
    return path


def test_an_older_version_is_refused_once_a_newer_was_accepted(
    signed: Path, older: Path, home: Path
) -> None:
    open_bundle(older, trust=policy(KEY, home=home))
    open_bundle(signed, trust=policy(KEY, home=home))
    refused(older, home, OlderBundleError, "manifest.json: tiny-prototypical has version 1")
    open_bundle(signed, trust=policy(KEY, home=home))
    open_bundle(older, trust=policy(KEY, home=None))  # the control: nothing else is wrong with it


def test_another_bundle_of_the_same_version_is_refused(signed: Path, home: Path) -> None:
    open_bundle(signed, trust=policy(KEY, home=home))
    release(signed, KEY, quality={"accuracy": 0.25})
    refused(signed, home, OlderBundleError, "another tiny-prototypical of version 2")
    release(signed, KEY, version=3)
    open_bundle(signed, trust=policy(KEY, home=home))


def test_versions_of_other_names_do_not_matter(
    signed: Path, tiny_gradient_bundle: Path, home: Path
) -> None:
    open_bundle(signed, trust=policy(KEY, home=home))
    sign_bundle(tiny_gradient_bundle, KEY)
    assert open_bundle(tiny_gradient_bundle, trust=policy(KEY, home=home)).manifest.version == 1


BREAK: dict[str, Callable[[Path], object]] = {
    "a file": lambda bundle: (bundle / "init.onnx").write_bytes(b""),
    "a signature": lambda bundle: (bundle / "manifest.sig").write_bytes(bytes(64)),
    "a graph": lambda bundle: (replace_file(bundle, "init.onnx", b"?"), sign_bundle_unread(bundle)),
}


def sign_bundle_unread(bundle: Path) -> None:
    """Sign what the reader would refuse: a maker whose own checks are off."""
    (bundle / "manifest.sig").write_bytes(KEY.sign((bundle / "manifest.json").read_bytes()))


@pytest.mark.parametrize("break_it", BREAK.values(), ids=BREAK.keys())
def test_a_refused_bundle_is_not_remembered(
    signed: Path, older: Path, home: Path, break_it: Callable[[Path], object]
) -> None:
    """Else one broken release would lock a device out of the good one before it."""
    break_it(signed)
    with pytest.raises(BadBundleError):
        open_bundle(signed, trust=policy(KEY, home=home))
    open_bundle(older, trust=policy(KEY, home=home))


# --- the folder, signed by the right key ------------------------------------------------------


def rename(bundle: Path) -> None:
    (bundle / "init.onnx").rename(bundle / "start.onnx")


def link(bundle: Path) -> None:
    elsewhere = bundle.parent / "elsewhere"
    (bundle / "adapt.onnx").rename(elsewhere)
    (bundle / "adapt.onnx").symlink_to(elsewhere)


def link_signature(bundle: Path) -> None:
    elsewhere = bundle.parent / "elsewhere"
    (bundle / "manifest.sig").rename(elsewhere)
    (bundle / "manifest.sig").symlink_to(elsewhere)


def pipe_signature(bundle: Path) -> None:
    (bundle / "manifest.sig").unlink()
    os.mkfifo(bundle / "manifest.sig")


def list_outside(bundle: Path) -> None:
    edit_manifest(bundle, files={"../outside.onnx": {"sha256": "0" * 64, "size": 1}})
    sign_bundle_unread(bundle)


def repeat_key(bundle: Path) -> None:
    raw = (bundle / "manifest.json").read_bytes()
    replace_manifest(bundle, raw.replace(b'"ways": 4', b'"ways": 4, "ways": 5'))
    sign_bundle_unread(bundle)


def grow(bundle: Path) -> None:
    with (bundle / "predict.onnx").open("r+b") as file:
        file.truncate((64 << 20) + 1)


def store(graph: bytes) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        replace_file(bundle, "init.onnx", graph)
        sign_bundle_unread(bundle)

    return change


EXTERNAL = wire.tensor("w", [4], None, more=wire.field(13, wire.field(1, "location")))
GIANT = wire.tensor("w", [1 << 30, 1 << 30], b"")
NAN = wire.tensor("w", [1], b"\x00\x00\xc0\x7f")
SET: dict[str, tuple[Callable[[Path], object], str]] = {
    "extra": (lambda b: (b / "extra.onnx").write_bytes(EMPTY), "extra.onnx does not belong"),
    "missing": (lambda b: (b / "predict.onnx").unlink(), "predict.onnx is missing"),
    "renamed": (rename, "start.onnx does not belong"),
    "symlink": (link, "adapt.onnx cannot be read"),
    "symlink for a signature": (link_signature, "manifest.sig cannot be read"),
    "pipe for a signature": (pipe_signature, "manifest.sig is not a regular file"),
    "path out of the folder": (list_outside, "manifest.json: files must"),
    "duplicate key": (repeat_key, "manifest.json is not strict JSON"),
    "giant file": (grow, "predict.onnx has 67108865 bytes"),
    "external data": (store(wire.model(wire.graph(tensors=[EXTERNAL]))), "init.onnx: holds a tens"),
    "giant shape": (store(wire.model(wire.graph(tensors=[GIANT]))), "init.onnx: tensor w has a gi"),
    "nan": (store(wire.model(wire.graph(tensors=[NAN]))), "init.onnx: tensor w holds NaN"),
}


@pytest.mark.parametrize(("change", "naming"), SET.values(), ids=SET.keys())
def test_a_hostile_folder_is_refused_even_if_signed(
    signed: Path, home: Path, change: Callable[[Path], object], naming: str
) -> None:
    change(signed)
    refused(signed, home, BadBundleError, naming)
    assert not home.exists()
