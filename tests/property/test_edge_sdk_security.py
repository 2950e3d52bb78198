"""Laws of bundle security: no edit passes a signature, versions only grow, no graph crashes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")
pytest.importorskip("cryptography", reason="needs the extra secure")

from hypothesis import example, given
from hypothesis import strategies as st

from edge_sdk._core import check_graph
from edge_sdk.accepted import Accepted, AcceptedVersions
from edge_sdk.errors import BadBundleError, OlderBundleError, SignatureError
from edge_sdk.signing import SigningKey
from tests.conftest import GOLDEN
from tests.support import onnx_wire as wire
from tests.support.signing import policy

MANIFEST = (GOLDEN / "tiny_gradient" / "manifest.json").read_bytes()
GRAPH = (GOLDEN / "tiny_gradient" / "adapt.onnx").read_bytes()
KEY = SigningKey.generate()
SIGNATURE = KEY.sign(MANIFEST)
TRUST = policy(KEY)


def edited(data: bytes, start: int, length: int, new: bytes) -> bytes:
    return data[:start] + new + data[start + length :]


@given(start=st.integers(0, len(MANIFEST)), length=st.integers(0, 9), new=st.binary(max_size=9))
def test_any_edit_of_a_signed_manifest_is_refused(start: int, length: int, new: bytes) -> None:
    change = edited(MANIFEST, start, length, new)
    if change == MANIFEST:
        TRUST.check_signature(change, SIGNATURE)
        return
    with pytest.raises(SignatureError):
        TRUST.check_signature(change, SIGNATURE)


@given(signature=st.binary(min_size=64, max_size=64))
def test_no_other_signature_passes(signature: bytes) -> None:
    with pytest.raises(SignatureError):
        TRUST.check_signature(MANIFEST, signature)


@given(start=st.integers(0, len(GRAPH)), length=st.integers(0, 9), new=st.binary(max_size=9))
def test_any_edit_of_a_graph_is_accepted_or_refused(start: int, length: int, new: bytes) -> None:
    try:
        check_graph("g.onnx", edited(GRAPH, start, length, new))
    except BadBundleError as error:
        assert str(error).startswith("g.onnx: ")  # noqa: PT017  (both ends are allowed)


FIELDS = st.recursive(
    st.binary(max_size=12) | st.integers(-(2**63), 2**64 - 1),
    lambda inner: st.lists(st.tuples(st.integers(1, 30), inner), max_size=6).map(
        lambda found: b"".join(wire.field(number, content) for number, content in found)
    ),
    max_leaves=30,
)


@given(content=FIELDS.filter(lambda found: isinstance(found, bytes)))
@example(content=b"")
def test_any_message_is_accepted_or_refused(content: bytes) -> None:
    for data in (content, wire.field(7, content), wire.model(wire.graph(tensors=[content]))):
        try:
            check_graph("g.onnx", data)
        except BadBundleError as error:
            assert str(error).startswith("g.onnx: ")  # noqa: PT017  (both ends are allowed)


@given(offers=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5), st.sampled_from("cd"))))
def test_the_record_is_the_newest_of_each_name(offers: list[tuple[str, int, str]]) -> None:
    newest: dict[str, Accepted] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, version, letter in offers:
            offer = Accepted(version=version, digest=letter * 64)
            known = newest.get(name)
            record = AcceptedVersions(Path(folder))
            if known is None or version > known.version or offer == known:
                record.accept(name, offer)
                newest[name] = offer
            else:
                with pytest.raises(OlderBundleError):
                    record.accept(name, offer)
