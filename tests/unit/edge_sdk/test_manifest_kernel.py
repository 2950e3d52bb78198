"""The manifest's optional `kernel`: read back as written, and refused where it does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edge_sdk.errors import BadBundleError
from edge_sdk.manifest import FeaturesSpec, Manifest, SoftmaxSgd, TensorSpec
from edge_sdk.manifest_json import encode_manifest, parse_manifest
from tests.conftest import GOLDEN

HEAD = (
    TensorSpec(name="w", shape=(4, 8), role="slot"),
    TensorSpec(name="b", shape=(4,), role="slot"),
    TensorSpec(name="counts", shape=(4,), role="personal"),
)
KERNEL = SoftmaxSgd(weight="w", bias="b", rate=0.5, rate_per_slot=True)


def manifest() -> Manifest:
    plain = parse_manifest((GOLDEN / "tiny_gradient" / "manifest.json").read_bytes())
    return replace(plain, state=HEAD, features=FeaturesSpec(shape=(8,)), kernel=KERNEL)


def encoded(**kernel: Any) -> bytes:
    """The manifest with fields of its kernel changed; `...` leaves one out."""
    values = json.loads(encode_manifest(manifest()))
    values["kernel"].update(kernel)
    values["kernel"] = {k: v for k, v in values["kernel"].items() if v is not ...}
    return json.dumps(values).encode()


def test_a_kernel_is_read_back() -> None:
    assert parse_manifest(encode_manifest(manifest())) == manifest()
    assert parse_manifest(encoded(momentum=0)).kernel == KERNEL


def test_a_manifest_without_a_kernel_has_no_such_key() -> None:
    text = (GOLDEN / "tiny_gradient" / "manifest.json").read_bytes()
    assert b"kernel" not in text
    assert parse_manifest(text).kernel is None
    assert encode_manifest(parse_manifest(text)) == text


def test_momentum_needs_velocities_in_the_state() -> None:
    moving = replace(manifest(), kernel=replace(KERNEL, momentum=0.9))
    with pytest.raises(BadBundleError, match=r"exactly w .*w\.velocity .*b\.velocity"):
        parse_manifest(encode_manifest(moving))
    velocities = (
        TensorSpec(name="w.velocity", shape=(4, 8), role="slot"),
        TensorSpec(name="b.velocity", shape=(4,), role="slot"),
    )
    moving = replace(moving, state=(*HEAD, *velocities))
    assert parse_manifest(encode_manifest(moving)) == moving


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kind": "lasso"}, r"kernel\.kind must be one of softmax_sgd, ridge"),
        ({"kind": "ridge"}, r"kernel "),
        ({"kind": ...}, r"kernel lacks the key 'kind'"),
        ({"rate": 0}, r"kernel\.rate must be > 0"),
        ({"rate": -1.0}, r"kernel\.rate must be > 0"),
        ({"rate": 1e9}, r"kernel\.rate must be > 0 and at most"),
        ({"rate": "1"}, r"kernel\.rate must be a finite number"),
        ({"rate": True}, r"kernel\.rate must be a finite number"),
        ({"momentum": 1}, r"kernel\.momentum must be in"),
        ({"momentum": -0.1}, r"kernel\.momentum must be in"),
        ({"rate_per_slot": 1}, r"kernel\.rate_per_slot must be true or false"),
        ({"weight": "v"}, r"kernel needs a state of exactly v \[4, 8\]"),
        ({"weight": "b", "bias": "w"}, r"kernel needs a state of exactly b \[4, 8\]"),
        ({"bias": "w"}, r"kernel must name different tensors"),
        ({"bias": "counts"}, r"kernel must name different tensors, and not counts"),
        ({"weight": "no name"}, r"kernel\.weight must be a string that matches"),
        ({"rate": ...}, r"kernel lacks the key 'rate'"),
        ({"extra": 1}, r"kernel has the unknown key 'extra'"),
    ],
)
def test_a_bad_kernel_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(BadBundleError, match=rf"^manifest\.json: {text}"):
        parse_manifest(encoded(**changes))


@pytest.mark.parametrize("kernel", [None, [], "softmax_sgd", 1])
def test_a_kernel_is_an_object(kernel: Any) -> None:
    values = json.loads(encode_manifest(manifest()))
    values["kernel"] = kernel
    with pytest.raises(BadBundleError, match="kernel must be an object"):
        parse_manifest(json.dumps(values).encode())


def test_a_kernel_needs_a_gradient_bundle_and_flat_features() -> None:
    closed = replace(manifest(), adaptation="closed_form", steps=1)
    with pytest.raises(BadBundleError, match="kernel needs a gradient bundle"):
        parse_manifest(encode_manifest(closed))
    square = replace(manifest(), features=FeaturesSpec(shape=(2, 4)))
    with pytest.raises(BadBundleError, match="kernel needs features of one axis"):
        parse_manifest(encode_manifest(square))
