"""The next version of a bundle: another starting state, every other graph the same, byte for byte.

A device that holds the version before keeps all that it learned.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from edge_sdk.manifest import MODEL_CARD_NAME
from export.bundle_writer import write_bundle
from export.init_graph import init_graph

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from edge_sdk import Bundle
    from edge_sdk.manifest import BundleDraft
    from edge_sdk.signing import SigningKey
    from export.init_graph import InitEncoding

COUNTS = "counts"  # the tensor that every learner has: docs/ARCHITECTURE.md section 2

_INIT = "init.onnx"


def next_draft(bundle: Bundle) -> BundleDraft:
    """The manifest of the version after `bundle`, with `bundle` as its parent."""
    manifest = bundle.manifest
    return replace(manifest.draft(), version=manifest.version + 1, parent=bundle.digest)


def write_next_version(
    path: str | os.PathLike[str],
    bundle: Bundle,
    draft: BundleDraft,
    tensors: Mapping[str, NDArray[np.float32]],
    note: str,
    *,
    overwrite: bool = False,
    key: SigningKey | None = None,
) -> str:
    """Write `bundle` with another starting state.

    Args:
        path: The new bundle's folder.
        bundle: Gives all graphs but `init.onnx`, and the model card.
        draft: The manifest, such as `next_draft` with changes.
        tensors: The starting state by name, in as many bits as that of `bundle`.
        note: Goes to the end of the model card.
        overwrite: Replace a bundle that is at `path`.
        key: Sign the new bundle with it; a signature of the old one does not carry over.

    Returns:
        The new bundle's digest.

    Raises:
        InvalidOptionError: `path` exists and may not be replaced.
        NonFiniteError: A tensor is not finite, or not in so few bits.
    """
    encoding = cast("InitEncoding", draft.quantization.get("init", "float32"))
    ordered = {spec.name: tensors[spec.name] for spec in draft.state}
    graphs = {name: data for name, data in bundle.files.items() if name != MODEL_CARD_NAME}
    graphs[_INIT] = init_graph(ordered, encoding)
    card = bundle.files[MODEL_CARD_NAME].decode("utf-8")
    return write_bundle(
        path,
        manifest_fields=draft,
        graphs=graphs,
        model_card=f"{card.rstrip()}\n\n{note}",
        overwrite=overwrite,
        key=key,
    )
