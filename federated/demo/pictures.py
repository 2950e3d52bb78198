"""Small handwriting as one PNG in a data URI: ink is opaque, paper is transparent."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray


def sheet_uri(images: NDArray[np.uint8]) -> str:
    """Lay `[rows, columns, height, width]` (ink 255) out as a grid; return a `data:` URI."""
    rows, columns, height, width = images.shape
    alpha = images.swapaxes(1, 2).reshape(rows * height, columns * width)
    grey_alpha = np.stack([np.zeros_like(alpha), alpha], axis=-1)
    stream = io.BytesIO()
    Image.fromarray(grey_alpha, mode="LA").save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
