"""The bundle writer: the same bytes from the same input, and never half a bundle at the path."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from edge_sdk import open_bundle
from edge_sdk.errors import BadBundleError, InvalidOptionError
from export import bundle_writer
from export.bundle_writer import write_bundle
from tests.conftest import GOLDEN
from tests.support import onnx_wire as wire

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = open_bundle(GOLDEN / "tiny_prototypical")
DRAFT = SOURCE.manifest.draft()
GRAPHS = {name: data for name, data in SOURCE.files.items() if name.endswith(".onnx")}


def write(path: Path, **changes: Any) -> str:
    options: dict[str, Any] = {"manifest_fields": DRAFT, "graphs": GRAPHS, "model_card": "# card\n"}
    return write_bundle(path, **{**options, **changes})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    digest = write(tmp_path / "deep" / "bundle")
    bundle = open_bundle(tmp_path / "deep" / "bundle")
    assert bundle.digest == digest
    assert bundle.manifest.draft() == DRAFT
    assert bundle.files == {**GRAPHS, "MODEL_CARD.md": b"# card\n"}


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    shuffled = replace(DRAFT, provenance=dict(reversed(list(DRAFT.provenance.items()))))
    assert write(tmp_path / "one") == write(tmp_path / "two", manifest_fields=shuffled)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_the_folder_is_as_open_as_the_umask_says(tmp_path: Path) -> None:
    write(tmp_path / "bundle")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "bundle").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_nothing_else_is_left_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "bundle")
    write(tmp_path / "bundle", model_card="other", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_existing_bundle_is_replaced_only_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "bundle")
    before = tree(tmp_path)
    with pytest.raises(InvalidOptionError, match="overwrite=True"):
        write(tmp_path / "bundle", model_card="other")
    assert tree(tmp_path) == before
    write(tmp_path / "bundle", model_card="other", overwrite=True)
    assert open_bundle(tmp_path / "bundle").files["MODEL_CARD.md"] == b"other"


def test_replacing_works_where_two_paths_cannot_be_swapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_writer, "_exchange", lambda _first, _second: False)
    write(tmp_path / "bundle")
    write(tmp_path / "bundle", model_card="other", overwrite=True)
    assert open_bundle(tmp_path / "bundle").files["MODEL_CARD.md"] == b"other"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    before = tree(tmp_path)
    for name in ("photos", "file", "link"):
        with pytest.raises(InvalidOptionError, match="not a bundle folder"):
            write(tmp_path / name, overwrite=True)
    assert tree(tmp_path) == before


BAD: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "what the reader refuses": ({"manifest_fields": replace(DRAFT, ways=5)}, BadBundleError),
    "nan": ({"manifest_fields": replace(DRAFT, quality={"a": float("nan")})}, InvalidOptionError),
    "not json": ({"manifest_fields": replace(DRAFT, provenance={"a": {1}})}, InvalidOptionError),
    "tuple": ({"manifest_fields": replace(DRAFT, provenance={"a": (1,)})}, InvalidOptionError),
    "int key": ({"manifest_fields": replace(DRAFT, provenance={"a": {1: 1}})}, InvalidOptionError),
    "missing graph": ({"graphs": {"init.onnx": b""}}, BadBundleError),
    "unknown graph": ({"graphs": {**GRAPHS, "extra.onnx": b""}}, BadBundleError),
    "path in a name": ({"graphs": {**GRAPHS, "../x.onnx": b""}}, BadBundleError),
    "huge": ({"graphs": {**GRAPHS, "init.onnx": bytes((64 << 20) + 1)}}, BadBundleError),
}


@pytest.mark.parametrize(("changes", "error"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("exists", [False, True])
def test_a_bad_draft_leaves_the_path_as_it_was(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], exists: bool
) -> None:
    if exists:
        write(tmp_path / "bundle")
    before = tree(tmp_path)
    with pytest.raises(error):
        write(tmp_path / "bundle", overwrite=exists, **changes)
    assert tree(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == exists


@pytest.mark.parametrize("call", ["fsync", "open_bundle", "_publish"])
def test_a_failure_half_way_leaves_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        msg = "no space left"
        raise OSError(msg)

    write(tmp_path / "bundle")
    before = tree(tmp_path)
    monkeypatch.setattr(os if call == "fsync" else bundle_writer, call, fail)
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path / "bundle", model_card="other", overwrite=True)
    assert tree(tmp_path) == before


def test_a_graph_that_devices_refuse_is_not_written(tmp_path: Path) -> None:
    graphs = {**GRAPHS, "init.onnx": wire.model(wire.graph([wire.node("RandomNormal", [], "y")]))}
    with pytest.raises(BadBundleError, match=r"init\.onnx: uses the operator RandomNormal"):
        write(tmp_path / "bundle", graphs=graphs)
    assert not (tmp_path / "bundle").exists()
