from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.change_detection import Adwin, ConformalDetector, PageHinkley
from edge_sdk.errors import InvalidOptionError, NonFiniteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Detector = Adwin | PageHinkley | ConformalDetector


def stream(seed: int) -> NDArray[np.float64]:
    """Errors at 10, 30 and 10 %; with noise on top for odd seeds."""
    rng = np.random.default_rng(seed)
    rates = np.repeat([0.1, 0.3, 0.1], [1200, 700, 700])
    errors = (rng.random(len(rates)) < rates).astype(np.float64)
    return errors + 0.1 * rng.normal(size=len(errors)) if seed % 2 else errors


def conformal(rate: float = 1e-3, burn_in: int = 30, seed: int = 0) -> ConformalDetector:
    return ConformalDetector(rate=rate, burn_in=burn_in, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("clock", [1, 32])
def test_adwin_is_rivers_to_the_event(seed: int, clock: int) -> None:
    drift = pytest.importorskip("river.drift", reason="river is installed with the extra dev")
    ours, theirs = Adwin(clock=clock), drift.ADWIN(clock=clock)
    for number, value in enumerate(stream(seed)):
        changed = ours.update(value)
        theirs.update(value)
        assert changed == theirs.drift_detected, number
        if changed:  # river starts afresh here; ADWIN as published keeps the newer part
            break
        assert ours.width == theirs.width
        assert ours.mean == pytest.approx(theirs.estimation, abs=1e-9)
    else:
        pytest.fail("the streams have changes")


@pytest.mark.parametrize("seed", range(6))
def test_adwin_shrinks_as_rivers_window_does(seed: int) -> None:
    drift = pytest.importorskip("river.drift", reason="river is installed with the extra dev")
    theirs = getattr(drift.ADWIN(), "_helper", None)
    if theirs is None:
        pytest.skip("this river keeps its window elsewhere")
    ours = Adwin(clock=32)
    found = [(ours.update(v), ours.width) for v in stream(seed)]
    want = [(theirs.update(float(v)), theirs.get_width()) for v in stream(seed)]
    assert found == want
    assert sum(changed for changed, _ in found) >= 2


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("forgetting", [1.0, 0.999])
def test_page_hinkley_is_rivers_to_the_event(seed: int, forgetting: float) -> None:
    drift = pytest.importorskip("river.drift", reason="river is installed with the extra dev")
    ours = PageHinkley(delta=0.05, threshold=8, min_numbers=30, forgetting=forgetting)
    theirs = drift.PageHinkley(
        delta=0.05, threshold=8, min_instances=30, alpha=forgetting, mode="up"
    )
    found, want = [], []
    for number, value in enumerate(stream(seed)):
        if ours.update(value):
            found.append(number)
        theirs.update(value)
        if theirs.drift_detected:
            want.append(number)
    assert found == want
    assert found


def test_adwin_by_hand_on_a_clear_step() -> None:
    detector = Adwin(clock=1)
    assert not any(detector.update(0.0) for _ in range(200))
    assert detector.width == 200
    first = next(i for i in range(1, 60) if detector.update(1.0))
    assert 5 <= first < 30
    for _ in range(300):
        detector.update(1.0)
    assert detector.mean == pytest.approx(1.0, abs=0.02)


def test_adwin_needs_little_memory() -> None:
    detector = Adwin()
    rng = np.random.default_rng(0)
    for _ in range(20_000):
        detector.update(float(rng.random() < 0.1))
    assert detector.width == 20_000
    assert len(json.dumps(detector.snapshot())) < 4000


def test_page_hinkley_by_hand() -> None:
    detector = PageHinkley(delta=0.0, threshold=2.0, min_numbers=1)
    assert not any(detector.update(0.0) for _ in range(10))
    # each 1 lies 1 - mean above the mean: 10/11 + 10/12 + 10/13 > 2 is first passed by the third
    assert [detector.update(1.0) for _ in range(3)] == [False, False, True]


def test_page_hinkley_lets_a_fall_pass() -> None:
    detector = PageHinkley(threshold=5.0)
    values = [1.0] * 300 + [0.0] * 300
    assert not any(detector.update(v) for v in values)


def test_conformal_false_alarms_keep_to_the_promised_rate() -> None:
    num, rate = 30_000, 1e-3
    for scale in (1.0, 1e6):  # any distribution of scores
        rng = np.random.default_rng(3)
        detector = conformal(rate)
        alarms = sum(
            detector.update(float(np.exp(scale * x))) for x in rng.normal(size=num) / scale
        )
        assert alarms <= 1.3 * rate * num


def test_conformal_does_so_where_most_scores_are_equal() -> None:
    rng = np.random.default_rng(4)
    detector = conformal(1e-3)
    assert sum(detector.update(float(rng.random() < 0.1)) for _ in range(30_000)) <= 39


@pytest.mark.parametrize("shift", [-1.5, 1.5])
def test_conformal_notices_a_shift_to_either_side(shift: float) -> None:
    rng = np.random.default_rng(5)
    delays = []
    for seed in range(15):
        detector = conformal(1e-4, seed=seed)
        assert not any(detector.update(float(x)) for x in rng.normal(size=100))
        new = rng.normal(size=200) + shift
        delays.append(next((i for i, x in enumerate(new) if detector.update(float(x))), 200))
    assert np.median(delays) < 30


def test_conformal_says_nothing_while_it_burns_in() -> None:
    detector = conformal(0.5, burn_in=20)
    assert not any(detector.update(x) for x in range(20))


DETECTORS: list[Callable[[], Detector]] = [Adwin, PageHinkley, conformal]


@pytest.mark.parametrize("make", DETECTORS)
def test_a_restored_detector_goes_on_as_if_never_stopped(make: Callable[[], Detector]) -> None:
    values = stream(0).tolist()
    whole, first = make(), make()
    for value in values[:700]:
        whole.update(value)
        first.update(value)
    second = make()
    second.restore(json.loads(json.dumps(first.snapshot())))
    assert second.snapshot() == whole.snapshot()
    if not isinstance(whole, ConformalDetector):  # its ties are broken at random
        assert [whole.update(v) for v in values[700:]] == [second.update(v) for v in values[700:]]


@pytest.mark.parametrize("make", DETECTORS)
@pytest.mark.parametrize("memory", [[], [1], [[], [1, 2]], ["a", "b", "c", "d"], [1, 2, 3, 4, 5]])
def test_another_memory_is_refused_and_changes_nothing(
    make: Callable[[], Detector], memory: list[object]
) -> None:
    detector = make()
    before = detector.snapshot()
    with pytest.raises((ValueError, TypeError)):
        detector.restore(memory)
    assert detector.snapshot() == before


@pytest.mark.parametrize("make", DETECTORS)
def test_a_cleared_detector_is_a_new_one(make: Callable[[], Detector]) -> None:
    detector = make()
    for value in stream(0)[:200].tolist():
        detector.update(value)
    detector.clear()
    assert detector.snapshot() == make().snapshot()


@pytest.mark.parametrize("make", DETECTORS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused(make: Callable[[], Detector], bad: float) -> None:
    detector = make()
    detector.update(1.0)
    before = detector.snapshot()
    with pytest.raises(NonFiniteError):
        detector.update(bad)
    assert detector.snapshot() == before


@pytest.mark.parametrize(
    "make",
    [
        lambda: Adwin(delta=0),
        lambda: Adwin(delta=1),
        lambda: Adwin(clock=0),
        lambda: Adwin(max_buckets=1),
        lambda: PageHinkley(delta=-1),
        lambda: PageHinkley(threshold=0),
        lambda: PageHinkley(min_numbers=0),
        lambda: PageHinkley(forgetting=0),
        lambda: conformal(rate=0),
        lambda: conformal(burn_in=0),
    ],
)
def test_options_outside_their_range_are_refused(make: Callable[[], Detector]) -> None:
    with pytest.raises(InvalidOptionError):
        make()
