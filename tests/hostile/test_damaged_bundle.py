"""Damaged and forged bundles: each is refused whole, and the error names the file."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_sdk.bundle import open_bundle
from edge_sdk.errors import BadBundleError
from edge_sdk.manifest import MAX_FILE_BYTES, MAX_MANIFEST_BYTES
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = sorted(path.name for path in (GOLDEN / "tiny_prototypical").iterdir())
GRAPHS = ["adapt.onnx", "embed.onnx", "init.onnx", "predict.onnx"]
Json = dict[str, Any]


def refused(bundle: Path, *, naming: str) -> None:
    with pytest.raises(BadBundleError, match=re.escape(naming)):
        open_bundle(bundle)


def forge(bundle: Path, raw: bytes | str) -> None:
    """Replace the manifest and make its digest right: an attacker who can write both files."""
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    (bundle / "manifest.json").write_bytes(data)
    (bundle / "manifest.sha256").write_text(hashlib.sha256(data).hexdigest() + "\n")


def read_json(bundle: Path) -> Json:
    found: Json = json.loads((bundle / "manifest.json").read_text())
    return found


def test_the_folder_of_these_tests_holds_all_seven_files() -> None:
    assert sorted([*GRAPHS, "MODEL_CARD.md", "manifest.json", "manifest.sha256"]) == FILES


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_byte_is_refused_naming_the_file(tiny_bundle: Path, name: str) -> None:
    path = tiny_bundle / name
    good = path.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        path.write_bytes(bad)
        with pytest.raises(BadBundleError) as caught:
            open_bundle(tiny_bundle)
        assert name in str(caught.value), f"byte {place}: {caught.value}"
    path.write_bytes(good)
    open_bundle(tiny_bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(tiny_bundle: Path, name: str) -> None:
    (tiny_bundle / name).unlink()
    refused(tiny_bundle, naming=f"{name} is missing")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [0, 1, -1])
def test_a_truncated_or_grown_file_is_refused(tiny_bundle: Path, name: str, size: int) -> None:
    data = (tiny_bundle / name).read_bytes()
    (tiny_bundle / name).write_bytes(data + b"\n" if size == 1 else data[:size])
    refused(tiny_bundle, naming=name)


@pytest.mark.parametrize(
    "name", ["extra.onnx", "manifest.json.bak", ".hidden", "init.ONNX", "a\nb"]
)
def test_an_extra_file_is_refused(tiny_bundle: Path, name: str) -> None:
    (tiny_bundle / name).write_bytes(b"")
    refused(tiny_bundle, naming=ascii(name)[1:-1])


def test_an_extra_embed_is_refused(tiny_bundle: Path) -> None:
    manifest = read_json(tiny_bundle)
    del manifest["files"]["embed.onnx"]
    manifest["features"]["shape"] = manifest["input"]["shape"]
    forge(tiny_bundle, json.dumps(manifest))
    refused(tiny_bundle, naming="embed.onnx")


def test_a_sub_folder_is_refused(tiny_bundle: Path) -> None:
    (tiny_bundle / "more").mkdir()
    refused(tiny_bundle, naming="more")


@pytest.mark.parametrize("name", FILES)
def test_a_link_is_refused_even_to_the_right_bytes(tiny_bundle: Path, name: str) -> None:
    elsewhere = tiny_bundle.parent / "elsewhere"
    (tiny_bundle / name).rename(elsewhere)
    (tiny_bundle / name).symlink_to(elsewhere)
    refused(tiny_bundle, naming=name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_not_a_file_is_refused_without_waiting(
    tiny_bundle: Path, name: str, make: Callable[[Path], None]
) -> None:
    (tiny_bundle / name).unlink()
    make(tiny_bundle / name)
    num_open = len(list(Path("/dev/fd").iterdir()))
    refused(tiny_bundle, naming=name)
    assert len(list(Path("/dev/fd").iterdir())) == num_open


@pytest.mark.parametrize(
    ("name", "size"), [("manifest.json", MAX_MANIFEST_BYTES + 1), ("init.onnx", MAX_FILE_BYTES + 1)]
)
def test_a_huge_file_is_refused_before_it_is_read(tiny_bundle: Path, name: str, size: int) -> None:
    with (tiny_bundle / name).open("wb") as file:
        file.truncate(size)
    refused(tiny_bundle, naming=f"{name} has {size} bytes")


@pytest.mark.parametrize("make", [lambda _: None, lambda p: p.write_bytes(b"x")])
def test_a_bundle_is_a_folder(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "bundle")
    refused(tmp_path / "bundle", naming="a bundle is a folder")


@pytest.mark.parametrize(
    "line",
    [b"", b"0" * 64, b"0" * 63 + b"\n", b"G" * 64 + b"\n", b"A" * 64 + b"\n", b"0" * 64 + b"\r\n"],
)
def test_a_malformed_digest_file_is_refused(tiny_bundle: Path, line: bytes) -> None:
    (tiny_bundle / "manifest.sha256").write_bytes(line)
    refused(tiny_bundle, naming="manifest.sha256")


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}', b"[" * 100_000, b"1" * 5000,
        '{"format": NaN}', '{"format": Infinity}', '{"format": 1e999}', '{"format": "\ud800"}',
        '{"format": "\\ud800"}', '{"format": 1, "format": 1}', '{"format": 1.0}',
        '{"format": true}', '{"format": 2}',
    ],
    ids=range(17),
)  # fmt: skip
def test_a_manifest_that_is_not_strict_json_is_refused(tiny_bundle: Path, raw: bytes | str) -> None:
    forge(tiny_bundle, raw)
    refused(tiny_bundle, naming="manifest.json")


def test_a_repeated_key_is_refused_at_any_depth(tiny_bundle: Path) -> None:
    raw = (tiny_bundle / "manifest.json").read_text()
    forge(tiny_bundle, raw.replace('"role": "slot"', '"role": "slot", "role": "shared"'))
    refused(tiny_bundle, naming="same key twice")


def edit(*path: str | int, value: Any) -> Callable[[Json], None]:
    def change(manifest: Json) -> None:
        place: Any = manifest
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def drop(*path: str | int) -> Callable[[Json], None]:
    def change(manifest: Json) -> None:
        place: Any = manifest
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


FORGERIES = {
    "unknown key": edit("surprise", value=1),
    "unknown key below": edit("input", "surprise", value=1),
    "missing key": drop("labels"),
    "missing key below": drop("state", 0, "role"),
    "name with a path": edit("name", value="../bundle"),
    "empty name": edit("name", value=""),
    "version 0": edit("version", value=0),
    "version true": edit("version", value=True),
    "version huge": edit("version", value=1 << 31),
    "parent not hex": edit("parent", value="z" * 64),
    "unknown adaptation": edit("adaptation", value="magic"),
    "steps of a closed form": edit("steps", value=2),
    "ways 0": edit("ways", value=0),
    "ways huge": edit("ways", value=1 << 40),
    "ways against slot tensors": edit("ways", value=5),
    "labels repeated": edit("labels", value=["a", "a"]),
    "labels empty": edit("labels", value=[""]),
    "labels too many": edit("labels", value=["a", "b", "c", "d", "e"]),
    "labels not strings": edit("labels", value=[1]),
    "labels not a list": edit("labels", value="abcd"),
    "input of no axes": edit("input", "shape", value=[]),
    "input of size 0": edit("input", "shape", value=[1, 0, 4]),
    "input negative": edit("input", "shape", value=[1, -4, -4]),
    "input absurd": edit("input", "shape", value=[1 << 20, 1 << 20]),
    "input of many axes": edit("input", "shape", value=[1] * 9),
    "input float": edit("input", "shape", value=[1.0, 4, 4]),
    "input dtype": edit("input", "dtype", value="float64"),
    "features absurd": edit("features", "shape", value=[1 << 62]),
    "state empty": edit("state", value=[]),
    "state without counts": drop("state", 1),
    "counts shared": edit("state", 1, "role", value="shared"),
    "counts of another shape": edit("state", 1, "shape", value=[4, 1]),
    "state name repeated": edit("state", 0, "name", value="counts"),
    "state name with a slash": edit("state", 0, "name", value="a/b"),
    "unknown role": edit("state", 0, "role", value="public"),
    "slot tensor without axes": edit("state", 0, "shape", value=[]),
    "state absurd": edit("state", 0, "shape", value=[4, 1 << 23]),
    "quality not a number": edit("quality", "accuracy", value="high"),
    "quality true": edit("quality", "accuracy", value=True),
    "quality huge": edit("quality", "accuracy", value=10**400),
    "quantization not text": edit("quantization", "embed", value=8),
    "provenance a list": edit("provenance", value=[]),
    "file not listed": drop("files", "init.onnx"),
    "file unknown": edit("files", "../x", value={"sha256": "0" * 64, "size": 1}),
    "file listed, not there": edit("files", "new.onnx", value={"sha256": "0" * 64, "size": 1}),
    "manifest lists itself": edit("files", "manifest.json", value={"sha256": "0" * 64, "size": 1}),
    "file size negative": edit("files", "init.onnx", "size", value=-1),
    "file size huge": edit("files", "init.onnx", "size", value=MAX_FILE_BYTES + 1),
    "expires null": edit("expires", value=None),
    "expires a number": edit("expires", value=20310131),
    "expires with a time": edit("expires", value="2031-01-31T00:00"),
    "expires in another form": edit("expires", value="2031-W05-5"),
    "no such day": edit("expires", value="2031-02-30"),
    "file digest upper case": edit("files", "init.onnx", "sha256", value="A" * 64),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_manifest_is_refused(tiny_bundle: Path, change: Callable[[Json], None]) -> None:
    manifest = read_json(tiny_bundle)
    change(manifest)
    forge(tiny_bundle, json.dumps(manifest))
    refused(tiny_bundle, naming="manifest.json: ")


def test_an_untouched_forgery_is_accepted(tiny_bundle: Path) -> None:
    """The control of the tests above: forging alone changes nothing."""
    forge(tiny_bundle, json.dumps(read_json(tiny_bundle)))
    open_bundle(tiny_bundle)


def test_without_embed_the_features_are_the_input(tiny_bundle: Path) -> None:
    manifest = read_json(tiny_bundle)
    del manifest["files"]["embed.onnx"]
    (tiny_bundle / "embed.onnx").unlink()
    forge(tiny_bundle, json.dumps(manifest))
    refused(tiny_bundle, naming="manifest.json: features")


def test_what_was_verified_stays_what_is_loaded(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    (tiny_bundle / "init.onnx").write_bytes(b"swapped")
    assert hashlib.sha256(bundle.files["init.onnx"]).hexdigest() == (
        bundle.manifest.files["init.onnx"].sha256
    )
