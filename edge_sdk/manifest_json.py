"""`manifest.json` as bytes: the one encoder and the one strict parser of bundle format 1."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from typing import get_args

from edge_sdk.manifest import (
    DTYPE,
    EMBED_NAME,
    FORMAT,
    LISTED_NAMES,
    MANIFEST_NAME,
    MAX_FILE_BYTES,
    PROBE_NAME,
    REQUIRED_NAMES,
    Adaptation,
    FeaturesSpec,
    FileEntry,
    InputSpec,
    Kernel,
    Manifest,
    RidgeKernel,
    Role,
    SoftmaxSgd,
    Task,
    TensorSpec,
    is_compiled_embed,
)
from edge_sdk.options import MAX_LABEL_CHARS, MAX_STEPS
from edge_sdk.strict_json import Place, decode

MAX_WAYS = 1 << 16
MAX_ELEMENTS = MAX_FILE_BYTES // 4
MAX_TENSORS = 4096
MAX_RATE = 1e6
MAX_VERSION = (1 << 31) - 1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TENSOR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,127}")
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`, the same for equal manifests."""
    values = asdict(manifest)
    if manifest.expires is None:
        del values["expires"]
    else:
        values["expires"] = manifest.expires.isoformat()
    for name in ("kernel", "outputs"):
        if values[name] is None:
            del values[name]
    if manifest.task == "classification":
        del values["task"]
    if not manifest.variance:
        del values["variance"]
    text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return (text + "\n").encode("ascii")


def parse_manifest(data: bytes) -> Manifest:
    """Read and check `manifest.json`.

    Raises:
        BadBundleError: Not strict JSON, or a key, type, size or relation is not of format 1.
            The message names the place, `manifest.json: state[2].shape ...`.
    """
    top = decode(data, file_name=MANIFEST_NAME)
    version = top.look("format").integer(1, MAX_VERSION)
    if version != FORMAT:
        top.look("format").refuse(f"is {version}, this version reads format {FORMAT}")
    values = top.record(
        {
            "format": lambda p: p.integer(FORMAT, FORMAT),
            "name": lambda p: p.match(_NAME),
            "version": lambda p: p.integer(1, MAX_VERSION),
            "parent": lambda p: None if p.value is None else p.match(_HEX_DIGEST),
            "learner": lambda p: p.match(_NAME),
            "adaptation": lambda p: p.choice(get_args(Adaptation)),
            "steps": lambda p: p.integer(1, MAX_STEPS),
            "ways": lambda p: p.integer(1, MAX_WAYS),
            "labels": lambda p: p.sequence(lambda q: q.text(1, MAX_LABEL_CHARS), MAX_WAYS),
            "input": _input,
            "features": _features,
            "state": lambda p: p.sequence(_tensor, MAX_TENSORS),
            "quantization": lambda p: p.mapping(lambda q: q.text(1, 128)),
            "quality": lambda p: p.mapping(Place.number),
            "provenance": lambda p: p.mapping(lambda q: q.value),
            "files": lambda p: p.mapping(_file),
        },
        optional={
            "expires": Place.date,
            "kernel": _kernel,
            "task": lambda p: p.choice(get_args(Task)),
            "outputs": lambda p: p.integer(1, MAX_WAYS),
            "variance": Place.boolean,
        },
    )
    manifest = Manifest(**values)
    _check_relations(manifest, top)
    return manifest


def _check_relations(manifest: Manifest, top: Place) -> None:
    """Check what one field says against another."""
    if manifest.adaptation != "gradient" and manifest.steps != 1:
        top.look("steps").refuse("must be 1 unless adaptation is gradient")
    _check_task(manifest, top)
    if len(set(manifest.labels)) != len(manifest.labels):
        top.look("labels").refuse("must be distinct")
    if len(manifest.labels) > manifest.ways:
        top.look("labels").refuse(f"must be at most ways = {manifest.ways}")
    _check_state(manifest, top.look("state"))
    _check_files(manifest, top.look("files"))
    if manifest.kernel is not None:
        _check_kernel(manifest, manifest.kernel, top.look("kernel"))
    if EMBED_NAME not in manifest.files and manifest.features.shape != manifest.input.shape:
        top.look("features").refuse(f"must have the input's shape where there is no {EMBED_NAME}")


def _check_task(manifest: Manifest, top: Place) -> None:
    regression = manifest.task == "regression"
    if regression != (manifest.outputs is not None):
        top.refuse("outputs must be there for a regression, and only then")
    if regression and manifest.ways != 1:
        top.look("ways").refuse("must be 1 for a regression")
    if regression and manifest.labels:
        top.look("labels").refuse("must be empty for a regression")


def _check_state(manifest: Manifest, place: Place) -> None:
    names = [spec.name for spec in manifest.state]
    if len(set(names)) != len(names):
        place.refuse("must have distinct names")
    for spec in manifest.state:
        if spec.role == "slot" and spec.shape[:1] != (manifest.ways,):
            place.refuse(f"slot tensor {spec.name} must have ways = {manifest.ways} rows")
    counts = [spec for spec in manifest.state if spec.name == "counts"]
    if not counts or counts[0].role != "personal" or counts[0].shape != (manifest.ways,):
        place.refuse(f"must hold a personal tensor counts of shape [{manifest.ways}]")
    if sum(math.prod(spec.shape) for spec in manifest.state) > MAX_ELEMENTS:
        place.refuse(f"must hold at most {MAX_ELEMENTS} numbers")


def _check_kernel(manifest: Manifest, kernel: Kernel, place: Place) -> None:
    """Check that the kernel covers the whole state, so that nothing is left for a graph to do."""
    if manifest.adaptation != kernel.adaptation:
        place.refuse(f"needs a {kernel.adaptation.replace('_', '-')} bundle")
    if manifest.task != "classification":
        place.refuse("needs a bundle that learns labels")
    if manifest.variance:
        place.refuse("must not be where there is a variance")
    if len(manifest.features.shape) != 1:
        place.refuse("needs features of one axis")
    wanted = kernel.tensor_shapes(manifest.ways, manifest.features.shape[0])
    if "counts" in wanted or len(wanted) < len(kernel.tensor_names()):
        place.refuse("must name different tensors, and not counts")
    wanted["counts"] = (manifest.ways,)
    if wanted != {spec.name: spec.shape for spec in manifest.state}:
        place.refuse(f"needs a state of exactly {', '.join(map(_shape_text, wanted.items()))}")


def _shape_text(item: tuple[str, tuple[int, ...]]) -> str:
    return f"{item[0]} {list(item[1])}"


def _check_files(manifest: Manifest, place: Place) -> None:
    for name in REQUIRED_NAMES:
        if name not in manifest.files:
            place.refuse(f"must list {name}")
    for name in manifest.files:
        if name not in (*LISTED_NAMES, PROBE_NAME) and not is_compiled_embed(name):
            place.refuse(f"must not list {name!a}")
        if is_compiled_embed(name) and EMBED_NAME not in manifest.files:
            place.refuse(f"must list {EMBED_NAME}, which {name} is compiled from")


def _input(place: Place) -> InputSpec:
    values = place.record(
        {"shape": _example_shape, "dtype": _dtype, "description": lambda p: p.text(0, 1000)}
    )
    return InputSpec(**values)


def _features(place: Place) -> FeaturesSpec:
    values = place.record({"shape": _example_shape, "dtype": _dtype})
    return FeaturesSpec(**values)


def _tensor(place: Place) -> TensorSpec:
    values = place.record(
        {
            "name": lambda p: p.match(_TENSOR_NAME),
            "shape": lambda p: p.shape(shortest=0, max_elements=MAX_ELEMENTS),
            "dtype": _dtype,
            "role": lambda p: p.choice(get_args(Role)),
        }
    )
    return TensorSpec(**values)


def _kernel(place: Place) -> Kernel:
    kind = place.look("kind").choice(("softmax_sgd", "ridge"))
    return _ridge(place) if kind == "ridge" else _softmax_sgd(place)


def _ridge(place: Place) -> RidgeKernel:
    values = place.record(
        {
            "kind": lambda p: p.choice(("ridge",)),
            "weight": lambda p: p.match(_TENSOR_NAME),
            "gram": lambda p: p.match(_TENSOR_NAME),
            "moments": lambda p: p.match(_TENSOR_NAME),
            "ridge": lambda p: _in_range(p, with_zero=False),
            "ridge_per_weight": lambda p: _in_range(p, with_zero=True),
            "scale": lambda p: _in_range(p, with_zero=False),
            "unit_rows": Place.boolean,
        }
    )
    return RidgeKernel(**values)


def _in_range(place: Place, *, with_zero: bool) -> float:
    value = place.number()
    if not (value >= 0 if with_zero else value > 0) or value > MAX_RATE:
        place.refuse(f"must be {'>=' if with_zero else '>'} 0 and at most {MAX_RATE:g}")
    return value


def _softmax_sgd(place: Place) -> SoftmaxSgd:
    values = place.record(
        {
            "kind": lambda p: p.choice(("softmax_sgd",)),
            "weight": lambda p: p.match(_TENSOR_NAME),
            "bias": lambda p: p.match(_TENSOR_NAME),
            "rate": lambda p: _in_range(p, with_zero=False),
            "rate_per_slot": Place.boolean,
            "momentum": lambda p: p.number(),
        }
    )
    if not 0 <= values["momentum"] < 1:
        place.look("momentum").refuse("must be in [0, 1)")
    return SoftmaxSgd(**values)


def _file(place: Place) -> FileEntry:
    values = place.record(
        {
            "sha256": lambda p: p.match(_HEX_DIGEST),
            "size": lambda p: p.integer(0, MAX_FILE_BYTES),
        }
    )
    return FileEntry(**values)


def _dtype(place: Place) -> str:
    return place.choice((DTYPE,))


def _example_shape(place: Place) -> tuple[int, ...]:
    return place.shape(shortest=1, max_elements=MAX_ELEMENTS)
