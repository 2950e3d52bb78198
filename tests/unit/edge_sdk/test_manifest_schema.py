"""docs/manifest.schema.json says what the reader says, as far as a schema can."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from edge_sdk.errors import BadBundleError
from edge_sdk.manifest_json import parse_manifest
from tests.arch.import_graph import ROOT
from tests.conftest import GOLDEN
from tests.hostile.test_damaged_bundle import FORGERIES

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "manifest.schema.json").read_text("utf-8"))
GOLDEN_MANIFESTS = [
    json.loads((path / "manifest.json").read_text()) for path in sorted(GOLDEN.iterdir())
]
TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "null": type(None), "integer": int,
    "number": (int, float),
}  # fmt: skip

# What a schema cannot say: each needs two fields at once, or more than one number.
BEYOND = {
    "steps of a closed form", "ways against slot tensors", "labels repeated", "labels too many",
    "input absurd", "state without counts", "counts shared", "counts of another shape",
    "state name repeated", "slot tensor without axes", "state absurd", "no such day",
}  # fmt: skip


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value fits; an unknown keyword is a KeyError."""
    return all(KEYWORDS[keyword](value, wanted, schema) for keyword, wanted in schema.items())


def no_others(value: Any, wanted: Any, schema: dict[str, Any]) -> bool:
    patterns = schema.get("patternProperties", {})
    others = [
        key
        for key in value
        if key not in schema.get("properties", {}) and not any(re.search(p, key) for p in patterns)
    ]
    return not others if wanted is False else all(fits(value[key], wanted) for key in others)


KEYWORDS: dict[str, Callable[[Any, Any, dict[str, Any]], bool]] = {
    "$schema": lambda *_: True,
    "title": lambda *_: True,
    "$defs": lambda *_: True,
    "$ref": lambda v, w, _: fits(v, SCHEMA["$defs"][w.removeprefix("#/$defs/")]),
    "type": lambda v, w, _: isinstance(v, TYPES[w]) and not isinstance(v, bool),
    "const": lambda v, w, _: v == w and type(v) is type(w),
    "enum": lambda v, w, _: v in w,
    "anyOf": lambda v, w, _: any(fits(v, inner) for inner in w),
    "pattern": lambda v, w, _: re.search(w, v) is not None,
    "minimum": lambda v, w, _: v >= w,
    "maximum": lambda v, w, _: v <= w,
    "minLength": lambda v, w, _: len(v) >= w,
    "maxLength": lambda v, w, _: len(v) <= w,
    "minItems": lambda v, w, _: len(v) >= w,
    "maxItems": lambda v, w, _: len(v) <= w,
    "maxProperties": lambda v, w, _: len(v) <= w,
    "items": lambda v, w, _: all(fits(item, w) for item in v),
    "required": lambda v, w, _: all(key in v for key in w),
    "properties": lambda v, w, _: all(fits(v[k], inner) for k, inner in w.items() if k in v),
    "patternProperties": lambda v, w, _: all(
        fits(value, inner) for p, inner in w.items() for k, value in v.items() if re.search(p, k)
    ),
    "propertyNames": lambda v, w, _: all(fits(key, w) for key in v),
    "additionalProperties": no_others,
}


def read(manifest: dict[str, Any]) -> bool:
    try:
        parse_manifest(json.dumps(manifest).encode())
    except BadBundleError:
        return False
    return True


@pytest.mark.parametrize("manifest", GOLDEN_MANIFESTS, ids=lambda found: found["name"])
def test_golden_manifests_fit(manifest: dict[str, Any]) -> None:
    assert fits(manifest, SCHEMA)
    assert fits({**manifest, "expires": "2031-01-31"}, SCHEMA)


@pytest.mark.parametrize("name", FORGERIES)
def test_what_the_reader_refuses_the_schema_refuses_if_it_can(name: str) -> None:
    manifest = copy.deepcopy(next(m for m in GOLDEN_MANIFESTS if m["name"] == "tiny-prototypical"))
    assert read(manifest)
    FORGERIES[name](manifest)
    assert not read(manifest)
    assert fits(manifest, SCHEMA) == (name in BEYOND)
