"""Offline compilation: adds `embed.onnx`, compiled for named Qualcomm SoCs, to a bundle."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import Engine, QnnProvider, open_bundle
from edge_sdk.errors import InvalidOptionError
from edge_sdk.manifest import EMBED_NAME, MODEL_CARD_NAME, compiled_embed_name
from edge_sdk.provider_options import DEFAULT_BATCH, check_batch, check_soc
from export.bundle_writer import write_bundle
from export.errors import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edge_sdk import Bundle
    from edge_sdk.manifest import BundleDraft, Json
    from edge_sdk.signing import SigningKey

COMPILED = "compiled"  # key in the manifest's provenance: one entry a compiled file

_SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CompileReport:
    """What was written.

    Attributes:
        path: The bundle's folder.
        digest: The new bundle's digest.
        size_bytes: Each compiled file's name to its size.
    """

    path: Path
    digest: str
    size_bytes: Mapping[str, int]


def compile_bundle(
    path: str | os.PathLike[str],
    *,
    socs: Sequence[str],
    out: str | os.PathLike[str] | None = None,
    batch: int = DEFAULT_BATCH,
    key: SigningKey | None = None,
) -> CompileReport:
    """Compile a bundle's frozen graph for Qualcomm SoCs and write the bundle that holds both.

    Each compiled file must give the features of `embed.onnx` on that SoC's HTP, bit for bit, as the
    emulator computes them. Files compiled earlier for other SoCs stay.

    Args:
        path: The bundle; its graph must be quantized with target `npu`.
        socs: Distinct names of `SOCS`, at least one.
        out: Folder of the new bundle, which must not exist; by default `path` is replaced.
        batch: Examples in one call of the HTP, 1..4096.
        key: Sign the new bundle with it; a signature of the old one does not carry over.

    Raises:
        InvalidOptionError: A SoC has no such name, or `out` exists.
        MissingExtraError: The package onnxruntime-qnn is not installed.
        ProviderError: The HTP does not take the whole graph.
        GateError: A compiled graph gives other features.

    On any error `path` and `out` are what they were before.
    """
    names = [check_soc(soc) for soc in socs]
    if not names or len(set(names)) != len(names):
        msg = "socs must be distinct, at least one"
        raise InvalidOptionError(msg)
    check_batch(batch)
    bundle = open_bundle(path)
    target = Path(path) if out is None else Path(out)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compiled, expected = {}, {}
        x = _probe(bundle, batch)
        for soc in names:
            provider = QnnProvider(soc=soc, batch=batch, compile_to=folder / f"{soc}.onnx")
            expected[soc] = Engine(bundle, providers=(provider,)).embed(x)
            compiled[compiled_embed_name(soc)] = (folder / f"{soc}.onnx").read_bytes()
        draft = _draft(bundle, tuple(compiled), batch)
        graphs = {k: v for k, v in bundle.files.items() if k != MODEL_CARD_NAME} | compiled
        card = bundle.files[MODEL_CARD_NAME].decode("utf-8")
        write_bundle(folder / "candidate", manifest_fields=draft, graphs=graphs, model_card=card)
        candidate = open_bundle(folder / "candidate")
        for soc in names:
            _check(candidate, soc, x, expected[soc])
    digest = write_bundle(
        target,
        manifest_fields=draft,
        graphs=graphs,
        model_card=card,
        overwrite=out is None,
        key=key,
    )
    sizes = {name: len(data) for name, data in compiled.items()}
    return CompileReport(path=target, digest=digest, size_bytes=sizes)


@contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Send what Qualcomm's libraries print to standard output to standard error, process-wide."""
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


def _probe(bundle: Bundle, batch: int) -> np.ndarray:
    """Inputs to compare on: noise, one more than a batch, so that one is padded."""
    shape = (batch + 1, *bundle.manifest.input.shape)
    return np.random.default_rng(_SEED).random(shape, dtype=np.float32)


def _draft(bundle: Bundle, files: Sequence[str], batch: int) -> BundleDraft:
    manifest = bundle.manifest
    embed = hashlib.sha256(bundle.files[EMBED_NAME]).hexdigest()
    entry: dict[str, Json] = {"batch": batch, "from_sha256": embed}
    before = manifest.provenance.get(COMPILED, {})
    if not isinstance(before, dict):
        msg = f"provenance[{COMPILED!r}] of the bundle is not an object"
        raise InvalidOptionError(msg)
    compiled: dict[str, Json] = {**before, **{name: dict(entry) for name in files}}
    return replace(
        manifest.draft(),
        version=manifest.version + 1,
        parent=bundle.digest,
        provenance={**manifest.provenance, COMPILED: compiled},
    )


def _check(candidate: Bundle, soc: str, x: np.ndarray, expected: np.ndarray) -> None:
    engine = Engine(candidate, providers=(QnnProvider(soc=soc),))
    name = compiled_embed_name(soc)
    if engine.placement.file != name or not np.array_equal(engine.embed(x), expected):
        msg = f"{name} does not give the features of {EMBED_NAME}; nothing was written"
        raise GateError(msg)
