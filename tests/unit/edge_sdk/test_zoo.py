"""The bundles that come with the SDK: whole, pinned, small, and of use without any training."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import edge_sdk
from edge_sdk import Personalizer, open_bundle, pretrained, pretrained_names
from edge_sdk.errors import BadBundleError, InvalidOptionError
from edge_sdk.zoo import copy_pretrained
from tests.support.pictures import SHAPES, drawings

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).parents[3]
BUNDLES = ROOT / "bundles"
NAMES = pretrained_names()
MOST_BYTES, MOST_BYTES_IN_ALL = 400_000, 8_000_000


@pytest.fixture
def own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own folder of bundles, in place of the SDK's."""
    folder = tmp_path / "bundles"
    shutil.copytree(BUNDLES, folder)
    monkeypatch.setattr("edge_sdk.zoo._folder", lambda: folder)
    return folder


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for each in value.values() for text in texts_in(each))]
    if isinstance(value, list):
        return [text for each in value for text in texts_in(each)]
    return [value] if isinstance(value, str) else []


def test_every_bundle_there_is_is_pinned() -> None:
    assert len(NAMES) >= 3
    assert set(NAMES) == {path.name for path in BUNDLES.iterdir() if path.is_dir()}


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_learns_three_characters(
    name: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    bundle = pretrained(name)
    assert bundle.manifest.name == name
    with Personalizer(bundle, home=tmp_path, guardrail=None) as personal:
        for label in SHAPES:
            personal.teach(label, drawings(label, 3, rng))
        personal.adapt()
        found = {label: personal.predict(drawings(label, 10, rng)).labels for label in SHAPES}
    right = sum(given == label for label, answers in found.items() for given in answers)
    assert right >= 28, found


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_is_small(name: str) -> None:
    assert size_of(BUNDLES / name) < MOST_BYTES


def test_all_bundles_are_small_together() -> None:
    assert size_of(BUNDLES) < MOST_BYTES_IN_ALL


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_says_where_it_comes_from_and_what_it_can_do(name: str) -> None:
    bundle = pretrained(name)
    provenance: Any = bundle.manifest.provenance
    assert provenance["licence"] == "Apache-2.0"
    assert provenance["command"] == f"edge-sdk export zoo bundles/zoo.toml --only {name}"
    (tasks,) = provenance["data"]
    assert provenance["tasks"].keys() == provenance["data"].keys()
    assert tasks.partition("-")[0] in {"omniglot", "glyphs"}  # licences that allow it
    first = provenance["evaluation"][0]
    assert (first["split"], first["tasks"]) == ("test", tasks)
    assert first["episodes"] >= 600
    assert 0 < first["half_width"] < 0.02
    ways = int(first["cell"].partition("w")[0])
    assert first["accuracy"] > 2 / ways
    card = bundle.files["MODEL_CARD.md"].decode()
    for figure in provenance["evaluation"]:
        assert f"{100 * figure['accuracy']:.2f} ± {100 * figure['half_width']:.2f} %" in card
    for word in ("## Limits", "Intended for", "## Training data", provenance["command"]):
        assert word in card
    assert ("Copyright (c) 2015 Brenden Lake" in card) == tasks.startswith("omniglot")


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_names_no_folder_of_the_machine_it_was_made_on(name: str) -> None:
    manifest = json.loads((BUNDLES / name / "manifest.json").read_text("utf-8"))
    texts = texts_in(manifest)
    assert len(texts) > 20
    assert not [text for text in texts if re.search(r"(^|\s)(/|~|[A-Z]:\\)", text)]


def test_the_notice_of_the_data_is_shipped() -> None:
    trained_on_omniglot = [name for name in NAMES if name.startswith("omniglot")]
    notice = (BUNDLES / "NOTICE").read_text("utf-8")
    assert bool(trained_on_omniglot) == ("Copyright (c) 2015 Brenden Lake" in notice)
    for name in trained_on_omniglot:
        assert name in notice


def test_an_unknown_name_is_told_the_known_ones() -> None:
    for wrong in ("omniglot", "../bundles/glyphs-prototypical", "", None, []):
        with pytest.raises(InvalidOptionError, match=r"there are .*glyphs-prototypical"):
            pretrained(wrong)  # type: ignore[arg-type]


def test_a_damaged_bundle_is_refused(own_copy: Path) -> None:
    graph = own_copy / "glyphs-prototypical" / "embed.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    with pytest.raises(BadBundleError, match=r"damaged: embed\.onnx .*install edge-sdk again"):
        pretrained("glyphs-prototypical")


def test_a_missing_bundle_is_refused(own_copy: Path) -> None:
    shutil.rmtree(own_copy / "glyphs-prototypical")
    with pytest.raises(BadBundleError, match="install edge-sdk again"):
        pretrained("glyphs-prototypical")


def test_a_whole_bundle_in_the_place_of_another_is_refused(
    own_copy: Path, tiny_bundle: Path
) -> None:
    shutil.rmtree(own_copy / "glyphs-prototypical")
    shutil.copytree(tiny_bundle, own_copy / "glyphs-prototypical")
    assert open_bundle(own_copy / "glyphs-prototypical")
    with pytest.raises(BadBundleError, match="not the one that came with this version"):
        pretrained("glyphs-prototypical")


def test_a_copy_is_the_bundle(tmp_path: Path) -> None:
    folder = copy_pretrained("glyphs-prototypical", tmp_path / "app" / "model")
    assert folder == tmp_path / "app" / "model"
    assert open_bundle(folder).digest == pretrained("glyphs-prototypical").digest
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        p.name: p.read_bytes() for p in (BUNDLES / "glyphs-prototypical").iterdir()
    }
    assert [p.name for p in (tmp_path / "app").iterdir()] == ["model"]


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "file").write_text("mine")
    for taken in ("mine", "file"):
        with pytest.raises(InvalidOptionError, match="already exists"):
            copy_pretrained("glyphs-prototypical", tmp_path / taken)
    with pytest.raises(InvalidOptionError, match="cannot be written"):
        copy_pretrained("glyphs-prototypical", tmp_path / "file" / "model")
    with pytest.raises(InvalidOptionError, match="destination must be a path"):
        copy_pretrained("glyphs-prototypical", "a\0b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "mine"]
    assert not list((tmp_path / "mine").iterdir())


def test_the_names_are_public() -> None:
    assert edge_sdk.pretrained is pretrained
    assert edge_sdk.pretrained_names() == tuple(sorted(NAMES))
