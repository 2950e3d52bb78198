"""The work that every simulator does: so small that only the framework shows.

The model is one float32 vector of 25,000 numbers (100 KB). A client adds a constant of its own to
it, and its update is the difference; the server averages updates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIM = 25_000
CLIENTS = 1000
CLIPPING_NORM = 1.0
NOISE_MULTIPLIER = 1.0


def local_update(vector: NDArray[np.float32], client: int) -> NDArray[np.float32]:
    """What client number `client` sends, before anything clips it."""
    return (vector + np.float32(0.01) * (client % 7 + 1)) - vector
