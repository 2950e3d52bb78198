"""ECE and likelihoods of hand-made predictions."""

from __future__ import annotations

import numpy as np
import pytest

from export.metrics import QueryScores, calibration_error, mean_nll, score_labels, score_values


def test_scores_of_labels() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], np.float32))
    found = score_labels(logits, np.array([0, 2]))
    np.testing.assert_array_equal(found.right, [1, 0])
    np.testing.assert_allclose(found.confidence, [0.7, 0.6], rtol=1e-6)
    assert found.nll is not None
    np.testing.assert_allclose(found.nll, -np.log([0.7, 0.3]), rtol=1e-6)


def test_a_slot_that_is_not_in_use_costs_a_finite_number_of_nats() -> None:
    found = score_labels(np.array([[0, -1e9]], np.float32), np.array([1]))
    assert found.nll is not None
    assert 80 < found.nll[0] < 100


def test_calibration_error_is_the_mean_gap_over_bins() -> None:
    right = np.array([1, 1, 1, 0, 1, 0], float)
    confidence = np.array([0.9, 0.92, 0.91, 0.93, 0.55, 0.56])
    scores = [
        QueryScores(right[:3], confidence[:3], None),
        QueryScores(right[3:], confidence[3:], None),
    ]
    high = abs(3 / 4 - confidence[:4].mean())
    low = abs(1 / 2 - confidence[4:].mean())
    assert calibration_error(scores, bins=10) == pytest.approx((4 * high + 2 * low) / 6)
    sure = QueryScores(np.ones(3), np.ones(3), None)
    assert calibration_error([sure]) == 0


def test_scores_of_values() -> None:
    mean, values = np.array([[1.0], [2.0]], np.float32), np.array([[1.0], [4.0]], np.float32)
    found = score_values(mean, np.array([[1.0], [4.0]], np.float32), values)
    np.testing.assert_allclose(found.right, [0, 4])
    assert found.power == pytest.approx(8.5)
    assert found.nll is not None
    want = 0.5 * np.log(2 * np.pi * np.array([1, 4])) + [0, 0.5]
    np.testing.assert_allclose(found.nll, want)
    assert mean_nll([found, found]) is not None
    assert mean_nll([score_values(mean, None, values)]) is None
