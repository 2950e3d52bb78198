"""probe.bin: examples of the base task that ship with a bundle which names its labels.

They are features, not inputs, so that nothing has to be embedded, and valid with the bundle's
`embed.onnx` alone. The bytes are those of a `State` with two tensors: `features`
`[m, *features.shape]` and `slots` `[m]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sdk._core import State
from edge_sdk.errors import BadBundleError, BadStateError
from edge_sdk.manifest import PROBE_NAME

if TYPE_CHECKING:
    from edge_sdk.arrays import Float32Array, Int64Array
    from edge_sdk.manifest import Manifest

MAX_EXAMPLES = 4096


def probe_bytes(features: Float32Array, slots: Int64Array) -> bytes:
    """The file's bytes, of float32 `[m, *features.shape]` and int64 `[m]`, m >= 1."""
    tensors = {"features": features, "slots": slots.astype(np.float32)}
    return State.from_arrays(tensors).to_bytes()


def parse_probe(data: bytes, manifest: Manifest) -> tuple[Float32Array, Int64Array]:
    """Features float32 `[m, *features.shape]` and slots int64 `[m]`.

    Raises:
        BadBundleError: They are not the bytes of a probe set for this manifest.
    """
    try:
        state = State.from_bytes(data)
    except BadStateError as error:
        raise _bad(str(error)) from None
    wrong = _what_is_wrong(state, manifest)
    if wrong:
        raise _bad(wrong)
    return state["features"], state["slots"].astype(np.int64)


def _what_is_wrong(state: State, manifest: Manifest) -> str:
    if state.names != ("features", "slots"):
        return "must hold the tensors features and slots, in this order"
    features, slots = state["features"], state["slots"]
    num = slots.shape[0] if slots.ndim == 1 else 0
    if not 1 <= num <= MAX_EXAMPLES or features.shape != (num, *manifest.features.shape):
        return f"must hold 1 to {MAX_EXAMPLES} examples, with the manifest's features each"
    if not np.isfinite(features).all() or not np.isfinite(slots).all():
        return "holds NaN or infinity"
    if not ((slots >= 0) & (slots < len(manifest.labels)) & (slots == np.floor(slots))).all():
        return "slots must be those of the labels that the manifest names"
    return ""


def _bad(what: str) -> BadBundleError:
    return BadBundleError(f"{PROBE_NAME}: {what}")
