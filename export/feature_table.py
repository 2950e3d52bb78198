"""The features of a whole pool, each image embedded once, for evaluations that meet it often."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from export.tasks.base import ImagePool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_sdk import Engine
    from export.tasks.base import EpisodeBatch
    from export.tasks.functions import FunctionPool

_BATCH = 64


class FeatureTable:
    """Features of every image of a pool, from one engine.

    Attributes:
        features: float32 `[images, *features.shape]`.
        embed_ms: Median wall time of embedding a batch, divided by the images in it.
    """

    def __init__(self, engine: Engine, pool: ImagePool) -> None:
        """Embed the pool."""
        found, times = [], []
        for start in range(0, len(pool.images), _BATCH):
            images = pool.inputs(np.arange(start, min(start + _BATCH, len(pool.images))))
            began = time.perf_counter()
            found.append(engine.embed(images))
            times.append((time.perf_counter() - began) * 1e3 / len(images))
        self.features = np.concatenate(found)
        self.embed_ms = float(np.median(times))

    def of(self, batch: EpisodeBatch) -> NDArray[np.float32]:
        """What `Engine.embed` gives of the images of `batch`, which is of the same pool."""
        rows: NDArray[np.float32] = self.features[batch.pool_rows]
        return rows


def feature_table(engine: Engine, pool: ImagePool | FunctionPool) -> FeatureTable | None:
    """The table, or None where the pool has no end, or features are the inputs themselves."""
    frozen = "embed.onnx" in engine.bundle.manifest.files
    return FeatureTable(engine, pool) if frozen and isinstance(pool, ImagePool) else None
