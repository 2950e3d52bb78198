"""A good bundle is read whole; the golden bundles of format 1 stay readable and reproducible."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING

import pytest

from edge_sdk import open_bundle
from edge_sdk.manifest import FileEntry, TensorSpec
from edge_sdk.manifest_json import encode_manifest
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from pathlib import Path

NAMES = sorted(path.name for path in GOLDEN.iterdir())


def test_a_manifest_is_read_field_by_field(tiny_labelled_bundle: Path) -> None:
    bundle = open_bundle(tiny_labelled_bundle)
    manifest = bundle.manifest
    assert (manifest.format, manifest.name, manifest.version) == (1, "tiny-labelled", 1)
    assert (manifest.learner, manifest.adaptation, manifest.steps) == (
        "tiny-prototypical", "closed_form", 1,
    )  # fmt: skip
    assert (manifest.ways, manifest.labels, manifest.parent) == (4, ("circle", "square"), None)
    assert (manifest.input.shape, manifest.input.dtype) == ((1, 4, 4), "float32")
    assert manifest.features.shape == (8,)
    assert manifest.state == (
        TensorSpec(name="prototypes", shape=(4, 8), role="slot"),
        TensorSpec(name="counts", shape=(4,), role="personal"),
    )
    for name, data in bundle.files.items():
        assert manifest.files[name] == FileEntry(
            sha256=hashlib.sha256(data).hexdigest(), size=len(data)
        )
    raw = (tiny_labelled_bundle / "manifest.json").read_bytes()
    assert bundle.digest == hashlib.sha256(raw).hexdigest()
    assert bundle.path == tiny_labelled_bundle


def test_a_str_path_will_do_and_a_link_to_the_folder(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(tiny_bundle)
    assert open_bundle(str(tmp_path / "current")).digest == open_bundle(tiny_bundle).digest


def test_a_manifest_cannot_be_changed(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    with pytest.raises(FrozenInstanceError):
        bundle.manifest.version = 2  # type: ignore[misc]


def test_no_file_stays_open(tiny_bundle: Path) -> None:
    open_bundle(tiny_bundle)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    for _ in range(3):
        open_bundle(tiny_bundle)
    again = os.dup(0)
    os.close(again)
    assert again == lowest_free


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_bundle_is_read_and_its_manifest_is_canonical(name: str) -> None:
    bundle = open_bundle(GOLDEN / name)
    raw = (GOLDEN / name / "manifest.json").read_bytes()
    assert encode_manifest(bundle.manifest) == raw
    canonical = json.dumps(json.loads(raw), indent=1, sort_keys=True, ensure_ascii=True)
    assert raw.decode("ascii") == canonical + "\n"


def test_the_golden_bundles_are_what_their_script_makes(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN.parent / "make_golden.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.make(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES
    for name in NAMES:
        assert open_bundle(tmp_path / name).digest == open_bundle(GOLDEN / name).digest
