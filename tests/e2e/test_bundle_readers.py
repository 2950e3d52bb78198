"""The bundle readers in C++ and Python accept and refuse the same folders, naming the same file."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from edge_sdk import open_bundle
from edge_sdk.errors import BadBundleError
from edge_sdk.manifest import LISTED_NAMES, MAX_FILE_BYTES, MAX_MANIFEST_BYTES
from tests.support import onnx_wire as wire
from tests.support.tiny import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np

    from tests.support.embedding import Build

Json = dict[str, Any]

# What stands where something else should; each in place of every value of a manifest.
ODD_VALUES: list[Any] = [
    None, True, 0, 1, -1, 2, 1.0, 1e300, 2**31, 2**63, 2**64, 65_536, 65_537, 16_777_217, "", "a",
    "float32", "a b", "../a", "0" * 64, "A" * 64, "\u00e9", "x" * 257, "x" * 1001, [], [0], [1],
    [4], [1, 4, 4], [1] * 8, [1] * 9, [2**24, 2], ["a"], ["a", "a"], {}, {"a": 1}, {"": "a"},
    {"a": "b"},
    {"\U0001f600" * 128: "a"}, {"\U0001f600" * 129: "a"},
]  # fmt: skip


class CReader:
    """`edge_bundle_open` of the installed library."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(os.fspath(library))
        for name in ("edge_last_error", "edge_bundle_digest", "edge_bundle_name"):
            getattr(self._library, name).restype = ctypes.c_char_p
        for name in ("edge_bundle_digest", "edge_bundle_name", "edge_bundle_close"):
            getattr(self._library, name).argtypes = [ctypes.c_void_p]

    def open(self, folder: Path) -> str:
        """The digest, or `BadBundleError` with the library's message."""
        handle = ctypes.c_void_p()
        status = self._library.edge_bundle_open(os.fsencode(folder), ctypes.byref(handle))
        if status != 0:
            assert status == 8, status
            assert not handle.value
            raise BadBundleError(self._library.edge_last_error().decode())
        digest: bytes = self._library.edge_bundle_digest(handle)
        self._library.edge_bundle_close(handle)
        return digest.decode()


@pytest.fixture(scope="module")
def c_reader(installed_sdk: Build) -> CReader:
    return CReader(next(installed_sdk.prefix.glob("lib*/libedge_sdk.so")))


def verdicts(c_reader: CReader, folder: Path) -> tuple[str | None, str | None]:
    """What Python and C++ say against a folder; None where one accepts it."""
    messages: list[str | None] = []
    for read in (lambda: open_bundle(folder).digest, lambda: c_reader.open(folder)):
        try:
            messages.append(read() and None)
        except BadBundleError as error:
            messages.append(str(error))
    return messages[0], messages[1]


def check_same_verdict(c_reader: CReader, folder: Path, what: object) -> bool:
    """Whether both accept; where both refuse, they must blame the same file."""
    python, cpp = verdicts(c_reader, folder)
    assert (python is None) == (cpp is None), f"{what}: {python!r} but {cpp!r}"
    if python is not None and cpp is not None:
        assert python.split(":")[0].split()[0] == cpp.split(":")[0].split()[0], (python, cpp)
    return python is None


def forge(folder: Path, raw: bytes) -> None:
    """Replace the manifest and make its digest right: an attacker who can write both files."""
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_text(hashlib.sha256(raw).hexdigest() + "\n")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    keys = range(len(value)) if isinstance(value, list) else list(value)
    for key in keys:
        yield value, key
        if isinstance(value[key], (list, dict)):
            yield from places(value[key])


@pytest.mark.parametrize("name", ["tiny_bundle", "tiny_gradient_bundle", "tiny_labelled_bundle"])
def test_both_read_the_golden_bundles(
    c_reader: CReader, request: pytest.FixtureRequest, name: str
) -> None:
    folder = request.getfixturevalue(name)
    assert c_reader.open(folder) == open_bundle(folder).digest


def test_both_judge_every_odd_value_at_every_place_alike(
    c_reader: CReader, tiny_labelled_bundle: Path
) -> None:
    manifest = json.loads((tiny_labelled_bundle / "manifest.json").read_text())
    accepted = refused = 0
    for index in range(len(list(places(manifest)))):
        for odd in ODD_VALUES:
            changed = deepcopy(manifest)
            container, key = list(places(changed))[index]
            container[key] = odd
            forge(tiny_labelled_bundle, json.dumps(changed).encode())
            what = (key, odd)
            if check_same_verdict(c_reader, tiny_labelled_bundle, what):
                accepted += 1
            else:
                refused += 1
    assert accepted > 50, "too few changes were harmless to say anything"
    assert refused > 500


def test_both_judge_a_missing_or_added_key_alike(
    c_reader: CReader, tiny_labelled_bundle: Path
) -> None:
    manifest = json.loads((tiny_labelled_bundle / "manifest.json").read_text())
    for index in range(len(list(places(manifest)))):
        missing = deepcopy(manifest)
        container, key = list(places(missing))[index]
        del container[key]
        forge(tiny_labelled_bundle, json.dumps(missing).encode())
        check_same_verdict(c_reader, tiny_labelled_bundle, ("without", key))
        added = deepcopy(manifest)
        container, key = list(places(added))[index]
        if isinstance(container, list):
            container.append(container[key])
        else:
            container["more"] = container[key]
        forge(tiny_labelled_bundle, json.dumps(added).encode())
        check_same_verdict(c_reader, tiny_labelled_bundle, ("one more", key))


def with_optional_keys(manifest: Json) -> Json:
    """The same manifest with a head kernel over all of its state, and an expiry date."""
    ways, dim = manifest["ways"], manifest["features"]["shape"][0]
    shapes = {"head": [ways, dim], "bias": [ways], "counts": [ways]}
    roles = {"head": "slot", "bias": "slot", "counts": "personal"}
    kernel = {"kind": "softmax_sgd", "weight": "head", "bias": "bias", "rate": 0.5}
    return {
        **manifest,
        "state": [
            {"name": name, "shape": shape, "dtype": "float32", "role": roles[name]}
            for name, shape in shapes.items()
        ],
        "kernel": {**kernel, "rate_per_slot": True, "momentum": 0.0},
        "expires": "2028-02-29",
    }


def test_both_judge_the_optional_keys_alike(c_reader: CReader, tiny_gradient_bundle: Path) -> None:
    plain = json.loads((tiny_gradient_bundle / "manifest.json").read_text())
    good = with_optional_keys(plain)
    forge(tiny_gradient_bundle, json.dumps(good).encode())
    assert check_same_verdict(c_reader, tiny_gradient_bundle, "optional keys")
    days = [
        "2028-2-29",
        "2027-02-29",
        "0000-01-01",
        "2028-13-01",
        "20280229",
        "2028-W09-2",
        "2028-02-30",
    ]
    changes = [{"expires": day} for day in (*days, "0001-01-01", "9999-12-31", *ODD_VALUES)]
    changes += [
        {"kernel": {**good["kernel"], key: odd}}
        for key in good["kernel"]
        for odd in (*ODD_VALUES, 0.999, "bias", "counts", False)
    ]
    changes += [
        {"state": plain["state"]},
        {"state": good["state"][:2]},
        {"adaptation": "closed_form"},
    ]
    accepted = 0
    for change in changes:
        forge(tiny_gradient_bundle, json.dumps({**good, **change}).encode())
        accepted += check_same_verdict(c_reader, tiny_gradient_bundle, change)
    assert 3 < accepted < len(changes) / 4


@pytest.mark.parametrize("size", [0, 63, 64, 65])
def test_both_admit_a_signature_of_the_right_size(
    c_reader: CReader, tiny_bundle: Path, size: int
) -> None:
    (tiny_bundle / "manifest.sig").write_bytes(b"s" * size)
    assert check_same_verdict(c_reader, tiny_bundle, size) == (size == 64)


def test_both_judge_flipped_bits_in_the_manifest_alike(
    c_reader: CReader, tiny_bundle: Path
) -> None:
    good = (tiny_bundle / "manifest.json").read_bytes()
    accepted = 0
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        forge(tiny_bundle, bytes(bad))
        accepted += check_same_verdict(c_reader, tiny_bundle, f"byte {place}")
    assert 0 < accepted < len(good) / 2  # letters of free text


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000, b"1" * 5000,
        b'{"format": NaN}', b'{"format": -Infinity}', b'{"format": 1e999}',
        b'{"format": "\\ud800"}',
        b'{"format": "\xed\xa0\x80"}', b'{"format": 1, "format": 1}', b'{"format": 1.0}',
        b'{"format": true}', b'{"format": 2}', b'{"format": 01}', b"{'format': 1}",
        b'{"format": 1,}',
    ],
    ids=range(20),
)  # fmt: skip
def test_both_refuse_what_is_not_strict_json(
    c_reader: CReader, tiny_bundle: Path, raw: bytes
) -> None:
    forge(tiny_bundle, raw)
    assert not check_same_verdict(c_reader, tiny_bundle, raw[:40])


def _fill(name: str, size: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return damage


def _grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def _link(folder: Path) -> None:
    (folder / "init.onnx").rename(folder.parent / "elsewhere")
    (folder / "init.onnx").symlink_to(folder.parent / "elsewhere")


def _pipe(folder: Path) -> None:
    (folder / "init.onnx").unlink()
    os.mkfifo(folder / "init.onnx")


def _unlist_embed(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["embed.onnx"]
    manifest["features"]["shape"] = manifest["input"]["shape"]
    forge(folder, json.dumps(manifest).encode())


DAMAGES: dict[str, Callable[[Path], object]] = {
    **{f"no {name}": lambda p, n=name: (p / n).unlink() for name in LISTED_NAMES},
    **{f"long {name}": lambda p, n=name: _grow(p / n) for name in LISTED_NAMES},
    "no manifest": lambda p: (p / "manifest.json").unlink(),
    "no digest": lambda p: (p / "manifest.sha256").unlink(),
    "extra": lambda p: (p / "extra.onnx").write_bytes(b""),
    "odd name": lambda p: (p / "a\nb").write_bytes(b""),
    "folder": lambda p: (p / "more").mkdir(),
    "folder for a file": lambda p: ((p / "init.onnx").unlink(), (p / "init.onnx").mkdir()),
    "link": _link,
    "pipe": _pipe,
    "unlisted": _unlist_embed,
    "huge manifest": _fill("manifest.json", MAX_MANIFEST_BYTES + 1),
    "huge graph": _fill("init.onnx", MAX_FILE_BYTES + 1),
    "short digest": lambda p: (p / "manifest.sha256").write_bytes(b"0" * 64),
    "upper digest": lambda p: (p / "manifest.sha256").write_bytes(b"A" * 64 + b"\n"),
    "other digest": lambda p: (p / "manifest.sha256").write_bytes(b"0" * 64 + b"\n"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_both_refuse_every_damage(
    c_reader: CReader, tiny_bundle: Path, damage: Callable[[Path], object]
) -> None:
    damage(tiny_bundle)
    assert not check_same_verdict(c_reader, tiny_bundle, "damage")


def test_both_read_a_bundle_compiled_for_a_chip(
    c_reader: CReader, tiny_bundle: Path, tmp_path: Path
) -> None:
    """The file belongs to the bundle, though the C library runs `embed.onnx`."""
    node = wire.node(
        "EPContext",
        ["x"],
        "features",
        wire.attribute("embed_mode", wire.field(3, 1))
        + wire.attribute("ep_cache_context", wire.field(4, b"binary")),
        domain="com.microsoft",
    )
    compiled = wire.model(wire.graph([node]))
    name = "embed.SM8650.onnx"
    folder = rewrite(tiny_bundle, tmp_path / "compiled", graphs={name: compiled})
    assert check_same_verdict(c_reader, folder, "compiled")
    assert c_reader.open(folder) == open_bundle(folder).digest
    (folder / name).rename(folder / "embed.SM8550.onnx")
    assert not check_same_verdict(c_reader, folder, "under another name")
    (folder / "embed.SM8550.onnx").rename(folder / "embed.sm8650.onnx")
    assert not check_same_verdict(c_reader, folder, "under a name that no bundle has")
    (folder / "embed.sm8650.onnx").rename(folder / name)
    (folder / name).write_bytes(compiled + b"x")
    assert not check_same_verdict(c_reader, folder, "damaged")
    (folder / name).unlink()
    assert not check_same_verdict(c_reader, folder, "missing")


def test_both_read_random_deep_provenance(
    c_reader: CReader, tiny_bundle: Path, rng: np.random.Generator
) -> None:
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    for _ in range(50):
        value: Any = float(rng.normal())
        for _ in range(int(rng.integers(1, 100))):
            value = [value, "\U0001f600"] if rng.random() < 0.5 else {"k": value, "n": None}
        manifest["provenance"] = {"deep": value}
        raw = json.dumps(manifest, ensure_ascii=bool(rng.random() < 0.5))
        forge(tiny_bundle, raw.encode())
        assert check_same_verdict(c_reader, tiny_bundle, "deep")
