"""The bundle readers in C++ and Python accept and refuse the same folders, naming the same file."""

from __future__ import annotations

import json
import os
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from edge_sdk import open_bundle, pretrained, pretrained_names
from edge_sdk.manifest import LISTED_NAMES, MAX_FILE_BYTES, MAX_MANIFEST_BYTES
from tests.support.bundle_readers import CReader, check_same_verdict, forge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np

Json = dict[str, Any]

# What stands where something else should; each in place of every value of a manifest.
ODD_VALUES: list[Any] = [
    None, True, 0, 1, -1, 2, 1.0, 1e300, 2**31, 2**63, 2**64, 65_536, 65_537, 16_777_217, "", "a",
    "float32", "a b", "../a", "0" * 64, "A" * 64, "\u00e9", "x" * 257, "x" * 1001, [], [0], [1],
    [4], [1, 4, 4], [1] * 8, [1] * 9, [2**24, 2], ["a"], ["a", "a"], {}, {"a": 1}, {"": "a"},
    {"a": "b"},
    {"\U0001f600" * 128: "a"}, {"\U0001f600" * 129: "a"},
]  # fmt: skip


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


@pytest.mark.parametrize("name", pretrained_names())
def test_both_read_the_bundles_that_come_with_the_sdk(c_reader: CReader, name: str) -> None:
    bundle = pretrained(name)
    assert c_reader.open(bundle.path) == bundle.digest


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
        {"adaptation": "sequential", "steps": 1},
        {"task": "regression"},
        {"variance": True},
    ]
    accepted = 0
    for change in changes:
        forge(tiny_gradient_bundle, json.dumps({**good, **change}).encode())
        accepted += check_same_verdict(c_reader, tiny_gradient_bundle, change)
    assert 3 < accepted < len(changes) / 4


def test_both_judge_regressions_alike(c_reader: CReader, tiny_regression_bundle: Path) -> None:
    good = json.loads((tiny_regression_bundle / "manifest.json").read_text())
    assert check_same_verdict(c_reader, tiny_regression_bundle, "as it is")
    changes = [
        {key: odd}
        for key in ("task", "outputs", "variance", "adaptation", "ways", "labels")
        for odd in (*ODD_VALUES, "classification", "regression", "sequential", False, 65_537)
    ]
    changes += [{"kernel": {"kind": "softmax_sgd"}}, {"adaptation": "sequential", "steps": 1}]
    accepted = 0
    for change in changes:
        forge(tiny_regression_bundle, json.dumps({**good, **change}).encode())
        accepted += check_same_verdict(c_reader, tiny_regression_bundle, change)
    for key in ("task", "outputs", "variance"):
        forge(
            tiny_regression_bundle, json.dumps({k: v for k, v in good.items() if k != key}).encode()
        )
        accepted += check_same_verdict(c_reader, tiny_regression_bundle, f"without {key}")
    assert 5 < accepted < len(changes) / 4


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
