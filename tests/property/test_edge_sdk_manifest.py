"""Laws of the bundle format: what is written is read back, and nothing else than it is read."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from edge_sdk import open_bundle
from edge_sdk.errors import BadBundleError
from edge_sdk.manifest import BundleDraft, FeaturesSpec, InputSpec, TensorSpec
from edge_sdk.manifest_json import encode_manifest, parse_manifest
from export.bundle_writer import write_bundle
from tests.conftest import GOLDEN

SOURCE = open_bundle(GOLDEN / "tiny_gradient")
MANIFEST_BYTES = encode_manifest(SOURCE.manifest)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
TENSOR_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,20}", fullmatch=True)
SHAPES = st.lists(st.integers(1, 5), max_size=4).map(tuple)
FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def drafts(draw: st.DrawFn) -> BundleDraft:
    regression = draw(st.booleans())
    ways = 1 if regression else draw(st.integers(1, 8))
    adaptation: Any = draw(st.sampled_from(["gradient", "closed_form", "sequential"]))
    names = draw(st.lists(TENSOR_NAMES.filter(lambda n: n != "counts"), unique=True, max_size=4))
    state = [TensorSpec(name="counts", shape=(ways,), role="personal")]
    for name in names:
        role: Any = draw(st.sampled_from(["shared", "slot", "personal"]))
        shape = draw(SHAPES)
        state.append(
            TensorSpec(name=name, shape=(ways, *shape) if role == "slot" else shape, role=role)
        )
    return BundleDraft(
        name=draw(NAMES),
        version=draw(st.integers(1, 2**31 - 1)),
        parent=draw(st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
        learner=draw(NAMES),
        adaptation=adaptation,
        steps=draw(st.integers(1, 100)) if adaptation == "gradient" else 1,
        ways=ways,
        labels=tuple(draw(st.lists(TEXT, unique=True, max_size=0 if regression else ways))),
        input=InputSpec(shape=(1, *draw(SHAPES)), description=draw(TEXT)),
        features=FeaturesSpec(shape=(1, *draw(SHAPES))),
        state=tuple(draw(st.permutations(state))),
        quantization=draw(st.dictionaries(NAMES, TEXT, max_size=3)),
        quality=draw(st.dictionaries(NAMES, FINITE, max_size=3)),
        provenance=draw(st.dictionaries(TEXT, JSON, max_size=3)),
        expires=draw(st.none() | st.dates()),
        task="regression" if regression else "classification",
        outputs=draw(st.integers(1, 65536)) if regression else None,
        variance=draw(st.booleans()),
    )


@given(draft=drafts(), card=TEXT)
def test_a_written_bundle_is_read_back(draft: BundleDraft, card: str) -> None:
    graphs = {name: data for name, data in SOURCE.files.items() if name.endswith(".onnx")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bundle")
        digest = write_bundle(path, manifest_fields=draft, graphs=graphs, model_card=card)
        bundle = open_bundle(path)
    assert bundle.manifest.draft() == draft
    assert bundle.digest == digest
    assert bundle.files["MODEL_CARD.md"] == card.encode()
    assert parse_manifest(encode_manifest(bundle.manifest)) == bundle.manifest


@given(
    start=st.integers(0, len(MANIFEST_BYTES)), length=st.integers(0, 40), new=st.binary(max_size=9)
)
def test_any_edit_of_a_manifest_is_read_or_refused(start: int, length: int, new: bytes) -> None:
    """No edit, its digest made right, escapes as another exception; what is read is consistent."""
    edited = MANIFEST_BYTES[:start] + new + MANIFEST_BYTES[start + length :]
    try:
        manifest = parse_manifest(edited)
    except BadBundleError as error:
        assert str(error).startswith("manifest.json")  # noqa: PT017  (both ends are allowed)
    else:
        assert parse_manifest(encode_manifest(manifest)) == manifest


@given(data=st.binary(max_size=60) | TEXT.map(str.encode) | JSON.map(repr).map(str.encode))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadBundleError, match=r"^manifest\.json"):
        parse_manifest(data)


def test_a_draft_is_the_manifest_without_files() -> None:
    draft = SOURCE.manifest.draft()
    assert not hasattr(draft, "files")
    assert replace(draft, version=2).version == 2
