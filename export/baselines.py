"""What an adapted model must beat: simple classifiers on the pixels of the same support set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression

if TYPE_CHECKING:
    from numpy.typing import NDArray


def nearest_neighbour(
    support_x: NDArray[np.float32], support_y: NDArray[np.int64], query_x: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Label of the support image with the highest cosine similarity, int64 `[num_queries]`.

    Images are float32 `[n, ...]`; a blank one is similar to none and takes the first label.
    """
    support = _unit_rows(support_x)
    query = _unit_rows(query_x)
    labels: NDArray[np.int64] = support_y[(query @ support.T).argmax(1)]
    return labels


def logistic_regression(
    support_x: NDArray[np.float32], support_y: NDArray[np.int64], query_x: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Labels by an L2-regularised softmax regression on the pixels, int64 `[num_queries]`."""
    model = LogisticRegression(max_iter=1000)
    model.fit(support_x.reshape(len(support_x), -1), support_y)
    labels: NDArray[np.int64] = model.predict(query_x.reshape(len(query_x), -1))
    return labels


def _unit_rows(x: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = x.reshape(len(x), -1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return unit
