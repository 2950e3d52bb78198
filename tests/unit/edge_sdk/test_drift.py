from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.drift import (
    DriftAdvice,
    DriftMonitor,
    DriftOptions,
    DriftSignal,
    FeatureReference,
)
from edge_sdk.errors import (
    DtypeMismatchError,
    EmptySupportError,
    InvalidOptionError,
    NonFiniteError,
    ShapeMismatchError,
    StoreError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


def monitor(options: DriftOptions | None = None) -> DriftMonitor:
    return DriftMonitor(rng=np.random.default_rng(0), options=options or DriftOptions())


def usual(rng: np.random.Generator, num: int, by: float = 0.0) -> NDArray[np.float32]:
    return (rng.normal(size=(num, 4)) + by).astype(np.float32)


@pytest.fixture
def reference(rng: np.random.Generator) -> FeatureReference:
    return FeatureReference.of(usual(rng, 20), np.arange(20) % 2)


def test_an_error_rate_that_falls_is_no_drift(rng: np.random.Generator) -> None:
    watching = monitor()
    assert not any(watching.feedback(bool(rng.random() > 0.5)) for _ in range(500))
    assert not any(watching.feedback(True) for _ in range(500))


def drive_errors(watching: DriftMonitor, rng: np.random.Generator) -> DriftAdvice:
    for _ in range(400):
        assert watching.feedback(bool(rng.random() > 0.05)) is None
    for number in range(1, 400):
        report = watching.feedback(bool(rng.random() > 0.6))
        if report is not None:
            assert report.signal is DriftSignal.ERRORS_ROSE
            assert report.num_events == 400 + number
            assert report.error_rate is not None
            assert report.error_rate > 0.05
            return report.advice
    pytest.fail("the drift was not noticed")


def drive_shift(
    watching: DriftMonitor, reference: FeatureReference, rng: np.random.Generator
) -> None:
    assert watching.watch(usual(rng, 200), reference) is None
    report = watching.watch(usual(rng, 200, by=3.0), reference)
    assert report is not None
    assert report.signal is DriftSignal.FEATURES_SHIFTED
    assert report.advice is DriftAdvice.ADAPT_AGAIN
    assert 200 < report.num_events <= 400
    assert report.error_rate is None


def test_errors_alone_ask_to_teach_again(rng: np.random.Generator) -> None:
    watching = monitor()
    assert drive_errors(watching, rng) is DriftAdvice.TEACH_AGAIN


def test_errors_after_a_shift_ask_to_adapt_and_then_for_a_new_bundle(
    reference: FeatureReference, rng: np.random.Generator
) -> None:
    watching = monitor()
    drive_shift(watching, reference, rng)
    assert drive_errors(watching, rng) is DriftAdvice.ADAPT_AGAIN
    assert drive_errors(watching, rng) is DriftAdvice.NEW_BUNDLE
    watching.reset()
    assert drive_errors(watching, rng) is DriftAdvice.TEACH_AGAIN


def test_a_restored_monitor_goes_on(reference: FeatureReference, rng: np.random.Generator) -> None:
    first = monitor()
    drive_shift(first, reference, rng)
    for _ in range(150):
        first.feedback(bool(rng.random() > 0.1))
    second = monitor()
    second.restore(first.to_json())
    assert second.to_json() == first.to_json()
    errors = rng.random(300) < 0.5
    assert [first.feedback(not e) for e in errors] == [second.feedback(not e) for e in errors]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"format": 2}',
        '{"format": 1, "counts": [1], "flags": [0, 0], "detectors": [[], [], []]}',
        '{"format": 1, "counts": [1, 2], "flags": [0, 0], "detectors": [[0, []], [1], [[], []]]}',
    ],
)
def test_a_damaged_memory_is_reported_and_the_monitor_new(text: str) -> None:
    watching = monitor()
    for _ in range(50):
        watching.feedback(False)
    with pytest.raises(StoreError):
        watching.restore(text)
    assert watching.to_json() == monitor().to_json()


def test_scores_are_distances_to_the_nearest_label_in_usual_deviations() -> None:
    features = np.array([[0, 0], [2, 0], [10, 4], [12, 4]], np.float32)
    found = FeatureReference.of(features, np.array([3, 3, 7, 7]))
    assert found.means.tolist() == [[1, 0], [11, 4]]
    assert found.variances.tolist() == [0.75, 0.25]  # half their own, half the average of both
    got = found.scores(np.array([[1, 0], [11, 5]], np.float32))
    assert got.tolist() == pytest.approx([0, (1 / 0.25) / 2])


def test_one_example_or_copies_give_a_usable_reference() -> None:
    for num in (1, 3):
        found = FeatureReference.of(np.ones((num, 4), np.float32), np.zeros(num, np.int64))
        assert np.isfinite(found.scores(np.full((1, 4), 2, np.float32))).all()


def test_features_of_any_shape_are_watched(rng: np.random.Generator) -> None:
    found = FeatureReference.of(
        rng.normal(size=(6, 2, 3)).astype(np.float32), np.zeros(6, np.int64)
    )
    assert monitor().watch(rng.normal(size=(2, 2, 3)).astype(np.float32), found) is None


def test_bad_arguments_are_refused(reference: FeatureReference, rng: np.random.Generator) -> None:
    watching = monitor()
    before = watching.to_json()
    for bad in (1, "yes", None):
        with pytest.raises(InvalidOptionError):
            watching.feedback(bad)  # type: ignore[arg-type]
    for error, features in (
        (DtypeMismatchError, np.ones((2, 4))),
        (ShapeMismatchError, np.ones((2, 5), np.float32)),
        (ShapeMismatchError, np.ones((0, 4), np.float32)),
        (NonFiniteError, np.full((1, 4), np.nan, np.float32)),
    ):
        with pytest.raises(error):
            watching.watch(features, reference)
    assert watching.to_json() == before
    with pytest.raises(EmptySupportError):
        FeatureReference.of(usual(rng, 2)[:0], np.zeros(0, np.int64))


@pytest.mark.parametrize(
    "options",
    [
        DriftOptions(adwin_delta=0),
        DriftOptions(rise=-1),
        DriftOptions(rise_threshold=0),
        DriftOptions(shift_rate=1),
        DriftOptions(burn_in=0),
    ],
)
def test_options_outside_their_range_are_refused(options: DriftOptions) -> None:
    with pytest.raises(InvalidOptionError):
        monitor(options)
