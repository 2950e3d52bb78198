"""What coding took from a device's last update, kept to be added to its next one (error feedback).

Karimireddy et al., "Error Feedback Fixes SignSGD", ICML 2019: what is not sent now is sent later
and not lost. A residual says something of the examples that it came from, so it is kept as they
are: sealed in the personal store, and gone with whatever is forgotten.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import StoreDamagedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sdk.arrays import Float32Array
    from edge_sdk.store_notes import Memory

KEPT = "residual"
PENDING = "residual.pending"


def read_residual(memory: Memory, bundle_digest: str) -> dict[str, Float32Array]:
    """The residual that the next update on this bundle carries; empty where there is none.

    One that is damaged, or of another bundle, is none: it only makes rounds need fewer bytes.
    """
    try:
        text = memory.get(KEPT)
        return {} if not text else _decode(text, bundle_digest)
    except (StoreDamagedError, ValueError, KeyError, TypeError, binascii.Error):
        return {}


def hold_residual(
    memory: Memory, bundle_digest: str, residual: Mapping[str, Float32Array], token: str = ""
) -> None:
    """Keep a residual in place of the one before.

    Args:
        memory: Of the personal store, in a transaction.
        bundle_digest: The bundle that the update is for.
        residual: float32 by tensor.
        token: Where it is not yet known whether the update arrives: `settle_residual` with the same
            token makes it count. Until then the one before stays.
    """
    tensors = {
        name: [list(values.shape), base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")]
        for name, values in residual.items()
    }
    entry = {"bundle": bundle_digest, "token": token, "tensors": tensors}
    memory.set(PENDING if token else KEPT, json.dumps(entry, sort_keys=True))


def settle_residual(memory: Memory, token: str) -> None:
    """The update of that token arrived: its residual is the one that counts from now on."""
    try:
        text = memory.get(PENDING)
        arrived = bool(text) and json.loads(text or "{}")["token"] == token
    except (StoreDamagedError, ValueError, KeyError, TypeError):
        arrived, text = False, None
    if arrived and text:
        memory.set(KEPT, text)
        memory.remove(PENDING)


def drop_residuals(memory: Memory) -> None:
    """Erase what rests on examples that are forgotten."""
    memory.remove(KEPT, PENDING)


def _decode(text: str, bundle_digest: str) -> dict[str, Float32Array]:
    entry = json.loads(text)
    if entry["bundle"] != bundle_digest:
        return {}
    return {
        name: np.frombuffer(base64.b64decode(data, validate=True), "<f4")
        .astype(np.float32)
        .reshape(shape)
        for name, (shape, data) in entry["tensors"].items()
    }
