"""Training data drawn ahead: the same draws, the same state, the same errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from export.draws import Draws


def number(rng: np.random.Generator) -> float:
    return float(rng.random())


@pytest.mark.parametrize("background", [False, True])
def test_draws_are_those_of_the_generator(background: bool) -> None:
    want = np.random.default_rng(1).random(5).tolist()
    draws = Draws(number, np.random.default_rng(1), background=background)
    assert [draws.take() for _ in range(5)] == want
    draws.close()


@pytest.mark.parametrize("background", [False, True])
def test_the_state_is_that_after_what_was_taken(background: bool) -> None:
    want = np.random.default_rng(1).random(5).tolist()
    draws = Draws(number, np.random.default_rng(1), background=background)
    taken = [draws.take() for _ in range(3)]
    state = draws.state  # one more draw is made by now, or soon
    draws.close()
    rest = Draws(number, np.random.default_rng(77), background=background)
    rest.go_on_from(state)
    assert [*taken, rest.take(), rest.take()] == want
    rest.close()


def test_the_next_draw_is_made_while_nobody_waits() -> None:
    made = threading.Semaphore(0)
    threads = set()

    def draw(rng: np.random.Generator) -> float:
        threads.add(threading.get_ident())
        made.release()
        return number(rng)

    draws = Draws(draw, np.random.default_rng(1), background=True)
    draws.take()
    assert made.acquire(timeout=60)
    assert made.acquire(timeout=60)  # the second, that nobody asked for yet
    draws.close()
    assert threading.get_ident() not in threads
    assert len(threads) == 1


@pytest.mark.parametrize("background", [False, True])
def test_an_error_in_a_draw_reaches_who_takes_it(background: bool) -> None:
    left = [1.0, 2.0]

    def draw(_: np.random.Generator) -> float:
        return left.pop()

    draws = Draws(draw, np.random.default_rng(1), background=background)
    assert [draws.take(), draws.take()] == [2.0, 1.0]
    with pytest.raises(IndexError):
        draws.take()
    draws.close()
