"""Where figures come from: the machine, the versions, and the command that makes the bundle."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_sdk import Bundle

# An untuned backbone would do, too; this one is trained in a minute, on drawn glyphs, no letters.
MAKE_BUNDLE = (
    "edge-sdk export train --learner prototypical --tasks glyphs --steps 300 --seed 0 "
    "--threads 1 --out BUNDLE"
)


def environment() -> dict[str, Any]:
    """Machine and versions."""
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("edge-sdk", "onnxruntime", "numpy")},
        },
    }


def provenance(bundle: Bundle) -> dict[str, Any]:
    """The bundle, and how to make it; `embed.onnx` alone decides what the figures are."""
    return {
        "bundle": bundle.manifest.name,
        "bundle_digest": bundle.digest,
        "embed_sha256": hashlib.sha256(bundle.files["embed.onnx"]).hexdigest(),
        "bundle_made_by": MAKE_BUNDLE,
    }
