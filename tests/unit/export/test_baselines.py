"""The pixel baselines really classify."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from export.baselines import logistic_regression, nearest_neighbour

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("classify", [nearest_neighbour, logistic_regression])
def test_separable_images_are_told_apart(
    classify: Callable[..., np.ndarray], rng: np.random.Generator
) -> None:
    patterns = (rng.random((4, 1, 28, 28)) < 0.3).astype(np.float32)
    labels = np.arange(4).repeat(3)
    support = patterns[labels] + rng.normal(0, 0.1, (12, 1, 28, 28)).astype(np.float32)
    query = patterns[::-1] + rng.normal(0, 0.1, (4, 1, 28, 28)).astype(np.float32)
    np.testing.assert_array_equal(classify(support, labels, query), [3, 2, 1, 0])


def test_brightness_does_not_matter_to_the_nearest_neighbour() -> None:
    support = np.float32([[1, 0], [0, 0.1]])
    found = nearest_neighbour(support, np.array([7, 9]), np.float32([[0, 5], [0.1, 0], [0, 0]]))
    np.testing.assert_array_equal(found, [9, 7, 7])
