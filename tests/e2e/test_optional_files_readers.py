"""Files that a bundle may hold: the readers in C++ and Python say the same of them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import State, open_bundle
from edge_sdk.manifest import PROBE_NAME
from edge_sdk.probe_file import probe_bytes
from tests.support import onnx_wire as wire
from tests.support.bundle_readers import CReader, check_same_verdict, forge
from tests.support.tiny import rewrite

if TYPE_CHECKING:
    from pathlib import Path

PROBES: dict[str, bytes] = {
    "not a state": b"features",
    "no slots": State.from_arrays({"features": np.ones((2, 8), np.float32)}).to_bytes(),
    "other order": State.from_arrays(
        {"slots": np.zeros(2, np.float32), "features": np.ones((2, 8), np.float32)}
    ).to_bytes(),
    "other features": probe_bytes(np.ones((2, 7), np.float32), np.zeros(2, np.int64)),
    "other number": State.from_arrays(
        {"features": np.ones((2, 8), np.float32), "slots": np.zeros(3, np.float32)}
    ).to_bytes(),
    "unnamed slot": probe_bytes(np.ones((2, 8), np.float32), np.array([0, 2])),
    "negative slot": probe_bytes(np.ones((2, 8), np.float32), np.array([0, -1])),
    "half a slot": State.from_arrays(
        {"features": np.ones((1, 8), np.float32), "slots": np.full(1, 0.5, np.float32)}
    ).to_bytes(),
    "NaN": probe_bytes(np.full((2, 8), np.nan, np.float32), np.zeros(2, np.int64)),
    "too many": probe_bytes(np.ones((4097, 8), np.float32), np.zeros(4097, np.int64)),
}


def with_probe(folder: Path, probe: bytes) -> None:
    """Put a probe set into a bundle, rightly listed."""
    (folder / PROBE_NAME).write_bytes(probe)
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = {"sha256": hashlib.sha256(probe).hexdigest(), "size": len(probe)}
    manifest["files"][PROBE_NAME] = entry
    forge(folder, json.dumps(manifest).encode())


def test_both_read_a_probe_set(c_reader: CReader, tiny_labelled_bundle: Path) -> None:
    with_probe(tiny_labelled_bundle, probe_bytes(np.ones((3, 8), np.float32), np.array([0, 1, 1])))
    assert check_same_verdict(c_reader, tiny_labelled_bundle, "probe")
    (tiny_labelled_bundle / PROBE_NAME).unlink()
    assert not check_same_verdict(c_reader, tiny_labelled_bundle, "no probe")


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_both_refuse_a_bad_probe_set(
    c_reader: CReader, tiny_labelled_bundle: Path, probe: bytes
) -> None:
    with_probe(tiny_labelled_bundle, probe)
    assert not check_same_verdict(c_reader, tiny_labelled_bundle, "probe")


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
