from __future__ import annotations

import pytest

from federated.errors import DeploymentError
from federated.service.restarts import Restarts


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_pauses_grow_and_there_is_an_end() -> None:
    time = Time()
    restarts = Restarts(4, 60.0, clock=time.clock, sleep=time.sleep)
    for _ in range(4):
        restarts.pause("it died")
    assert time.slept == [1.0, 2.0, 4.0]
    with pytest.raises(DeploymentError, match="after 4 restarts in 60 s: it died"):
        restarts.pause("it died")


def test_old_restarts_are_forgotten() -> None:
    time = Time()
    restarts = Restarts(1, 60.0, clock=time.clock, sleep=time.sleep)
    for _ in range(3):
        restarts.pause("it died")
        time.now += 61
    assert time.slept == []


def test_none_at_all() -> None:
    with pytest.raises(DeploymentError, match="after 0 restarts"):
        Restarts(0, 60.0).pause("it died")
