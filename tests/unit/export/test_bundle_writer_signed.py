"""The bundle writer with a signing key."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("cryptography", reason="needs the extra secure")

from edge_sdk import open_bundle
from edge_sdk.signing import SigningKey
from export.bundle_writer import write_bundle
from tests.conftest import GOLDEN
from tests.support.signing import policy

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = open_bundle(GOLDEN / "tiny_prototypical")
DRAFT = replace(SOURCE.manifest.draft(), expires=dt.date(2031, 1, 31))
GRAPHS = {name: data for name, data in SOURCE.files.items() if name.endswith(".onnx")}


def write(path: Path, **options: Any) -> str:
    return write_bundle(path, manifest_fields=DRAFT, graphs=GRAPHS, model_card="# c\n", **options)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_bundle_can_be_signed_while_it_is_written(tmp_path: Path) -> None:
    key = SigningKey.generate()
    digest = write(tmp_path / "bundle", key=key)
    opened = open_bundle(tmp_path / "bundle", trust=policy(key))
    assert (opened.digest, opened.manifest.expires) == (digest, dt.date(2031, 1, 31))
    assert opened.manifest.draft() == DRAFT


def test_the_same_key_gives_the_same_bytes(tmp_path: Path) -> None:
    key = SigningKey.generate()
    assert write(tmp_path / "one", key=key) == write(tmp_path / "two", key=key)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_signed_bundle_is_replaced_like_any_other(tmp_path: Path) -> None:
    write(tmp_path / "bundle", key=SigningKey.generate())
    assert "manifest.sig" in tree(tmp_path / "bundle")
    write(tmp_path / "bundle", overwrite=True)
    assert "manifest.sig" not in tree(tmp_path / "bundle")
