from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.label_noise import suspect_share
from edge_sdk.paired_tests import Answers


def test_a_label_is_suspect_where_another_is_as_sure_as_taught_ones_are() -> None:
    right = np.array([True, True, False, False, False])
    probability = np.array([0.9, 0.7, 0.1, 0.2, 0.1])  # 0.4 on average
    largest = np.array([0.9, 0.7, 0.39, 0.41, 0.8])
    assert suspect_share(Answers(right, probability, largest)) == pytest.approx(2 / 5)


def test_no_answer_casts_no_doubt() -> None:
    assert suspect_share(Answers(np.zeros(3, dtype=bool), np.zeros(3), np.zeros(3))) == 0


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.3])
def test_it_finds_the_share_of_labels_exchanged_at_random(wrong: float) -> None:
    """Of a state that is sure of nine of ten examples, and at a loss about the tenth."""
    rng = np.random.default_rng(0)
    num, ways = 4000, 10
    truth = rng.integers(ways, size=num)
    clear = rng.random(num) < 0.9
    given = np.where(rng.random(num) < wrong, (truth + 1) % ways, truth)
    sure = np.where(clear, 0.9, 0.15)
    chosen = np.where(clear, truth, rng.integers(ways, size=num))
    probability = np.where(chosen == given, sure, (1 - sure) / (ways - 1))
    found = suspect_share(Answers(chosen == given, probability, sure))
    assert found == pytest.approx(0.9 * wrong, abs=0.02)
