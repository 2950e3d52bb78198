from __future__ import annotations

import numpy as np

from federated.fleet.draws import Stream, normal, uniform

DEVICES = np.arange(20_000)


def test_uniform_draws_are_uniform_and_independent_of_each_other() -> None:
    first = uniform(0, Stream.HABIT, DEVICES)
    assert first.min() >= 0
    assert first.max() < 1
    counts = np.histogram(first, bins=20, range=(0, 1))[0]
    assert np.sum((counts - 1000) ** 2 / 1000) < 43.8  # chi-square, 19 degrees, 0.999
    for other in (
        uniform(1, Stream.HABIT, DEVICES),
        uniform(0, Stream.WIFI, DEVICES),
        uniform(0, Stream.HABIT, DEVICES, 1),
        np.roll(first, 1),
    ):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.03


def test_normal_draws_are_standard_normal() -> None:
    values = normal(3, Stream.DURATION, DEVICES, 7)
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1) < 0.02
    assert abs(np.mean(np.abs(values) < 1.96) - 0.95) < 0.006


def test_a_draw_belongs_to_its_device_whoever_asks() -> None:
    some = np.array([5, 17, 4])
    np.testing.assert_array_equal(
        uniform(2, Stream.LINK, DEVICES, 9)[some], uniform(2, Stream.LINK, some, 9)
    )
    each = [float(normal(2, Stream.LINK, device, 9)) for device in some]
    np.testing.assert_array_equal(normal(2, Stream.LINK, DEVICES, 9)[some], each)
