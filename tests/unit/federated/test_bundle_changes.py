"""A new version of a bundle from the old one and what changed: all of it, or nothing."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import BadBundleError, InvalidOptionError, OlderBundleError, SignatureError
from edge_sdk.signing import SigningKey, sign_bundle
from export.bundle_writer import write_bundle
from federated.bundle_changes import apply_changes, changes, size_of
from federated.next_bundle import RunSummary, write_next_bundle
from tests.support.signing import policy

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = RunSummary(
    rounds=1, num_clients=3, cohort_size=3, num_updates=3, clipping_norm=1.0, server_lr=1.0, seed=0
)
KEY = SigningKey.generate()


@pytest.fixture
def versions(tiny_labelled_bundle: Path, tmp_path: Path) -> tuple[Path, Path]:
    sign_bundle(tiny_labelled_bundle, KEY)
    old = open_bundle(tiny_labelled_bundle)
    moved = Engine(old).initial_state()["prototypes"] + np.float32(0.25)
    write_next_bundle(tmp_path / "v2", old, {"prototypes": moved}, SUMMARY, key=KEY)
    return tiny_labelled_bundle, tmp_path / "v2"


def test_a_device_makes_the_new_version_from_what_changed(
    versions: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = map(open_bundle, versions)
    raw = changes(old, new)
    made = apply_changes(old, raw, tmp_path / "made", trust=policy(KEY, home=tmp_path / "home"))
    assert (made.digest, made.files, made.signed_by) == (new.digest, new.files, "key0")
    names = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    assert names == {path.name: path.read_bytes() for path in versions[1].iterdir()}
    size = size_of(old, new)
    assert size.changes == len(raw)
    assert size.changes < size.bundle / 2
    assert changes(old, new) == raw
    assert b"embed" not in raw[45 + len(new.raw_manifest) :]


def test_only_the_tensors_that_moved_are_sent(tiny_gradient_bundle: Path, tmp_path: Path) -> None:
    old = open_bundle(tiny_gradient_bundle)
    init = bytearray(old.files["init.onnx"])
    at = init.find(np.array(Engine(old).initial_state()["mixing"]).tobytes())
    assert at > 0
    init[at : at + 4] = np.float32(0.5).tobytes()
    graphs = {n: d for n, d in old.files.items() if n != "MODEL_CARD.md"}
    write_bundle(
        tmp_path / "v2",
        manifest_fields=dataclasses.replace(old.manifest.draft(), version=2, parent=old.digest),
        graphs={**graphs, "init.onnx": bytes(init)},
        model_card=old.files["MODEL_CARD.md"].decode(),
    )
    new = open_bundle(tmp_path / "v2")
    assert len(changes(old, new)) < len(new.raw_manifest) + 150
    made = apply_changes(old, changes(old, new), tmp_path / "made")
    assert made.files == new.files


def test_nothing_changed_is_nothing_but_the_manifest(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    assert len(changes(bundle, bundle)) == 49 + len(bundle.raw_manifest)


def test_the_device_must_hold_the_right_old_version(
    versions: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = map(open_bundle, versions)
    with pytest.raises(BadBundleError, match="another bundle"):
        apply_changes(new, changes(old, new), tmp_path / "made")
    with pytest.raises(InvalidOptionError, match="exists"):
        apply_changes(old, changes(old, new), versions[1])
    assert open_bundle(versions[1]).files == new.files


def test_trust_is_asked_and_nothing_is_left(versions: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = map(open_bundle, versions)
    home = tmp_path / "home"
    raw = changes(old, new)
    with pytest.raises(SignatureError):
        apply_changes(old, raw, tmp_path / "made", trust=policy(SigningKey.generate(), home=home))
    assert {path.name for path in tmp_path.iterdir()} == {"tiny_labelled", "v2"}
    apply_changes(old, raw, tmp_path / "made", trust=policy(KEY, home=home))
    back = changes(new, old)  # a server that wants to roll devices back
    with pytest.raises(OlderBundleError):
        apply_changes(new, back, tmp_path / "back", trust=policy(KEY, home=home))
    assert not (tmp_path / "back").exists()


def test_damaged_changes_make_nothing(versions: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = map(open_bundle, versions)
    raw = changes(old, new)
    rng = np.random.default_rng(5)
    places = [*range(49), *rng.integers(49, len(raw), 60).tolist()]
    for at in places:
        damaged = bytearray(raw)
        damaged[at] ^= 1 << int(rng.integers(8))
        # A device that asks for signatures: without them, whoever changes the bytes may change
        # the manifest with them.
        with pytest.raises(BadBundleError):
            apply_changes(old, bytes(damaged), tmp_path / "made", trust=policy(KEY))
    for size in (0, 1, 48, len(raw) // 2, len(raw) - 1):
        with pytest.raises(BadBundleError):
            apply_changes(old, raw[:size], tmp_path / "made")
    with pytest.raises(BadBundleError):
        apply_changes(old, raw + b"\0", tmp_path / "made")
    assert {path.name for path in tmp_path.iterdir()} == {"tiny_labelled", "v2"}
