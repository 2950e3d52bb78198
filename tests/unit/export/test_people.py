from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import Engine
from edge_sdk.errors import InvalidOptionError
from export.people import (
    LessonOptions,
    Person,
    accuracy_after,
    first_of_each,
    lessons,
    paired_gain,
    people_of,
    score_people,
)
from export.taught_bundle import TeachOptions, base_examples, taught_state
from tests.support.people import drawn

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = LessonOptions(shots=(1, 3), min_labels=3, seeds=2)


def person(user: int, counts: tuple[int, ...]) -> Person:
    slots = np.arange(len(counts)).repeat(counts)
    return Person(user, np.zeros((len(slots), 2), np.float32), slots)


def test_a_lesson_asks_all_that_was_not_taught() -> None:
    one = person(3, (4, 7, 2, 5))  # of the third label there is too little to teach and ask
    found = list(lessons([one], OPTIONS))
    assert len(found) == OPTIONS.seeds
    assert not np.array_equal(found[0].taught, found[1].taught)
    for lesson in found:
        assert one.slots[lesson.taught].tolist() == [[0] * 3, [1] * 3, [3] * 3]
        rows = np.concatenate([lesson.taught.ravel(), lesson.asked])
        assert sorted(rows.tolist()) == list(range(18))
        assert set(one.slots[lesson.asked].tolist()) == {0, 1, 2, 3}


def test_a_draw_depends_on_the_person_and_the_seed_alone() -> None:
    others = [person(1, (5, 5, 5)), person(2, (9, 9, 9))]
    alone = list(lessons(others[1:], OPTIONS))
    among = [lesson for lesson in lessons(others, OPTIONS) if lesson.person.user == 2]
    for a, b in zip(alone, among, strict=True):
        assert np.array_equal(a.taught, b.taught)
    again = next(lessons(others[1:], replace(OPTIONS, seed=1)))
    assert not np.array_equal(again.taught, alone[0].taught)


def test_who_has_too_little_takes_no_part(tiny_bundle: Path) -> None:
    poor = person(1, (4, 4, 3, 3))
    assert not list(lessons([poor], OPTIONS))
    with pytest.raises(InvalidOptionError, match="nobody has 4 examples of 3 labels"):
        score_people(Engine(tiny_bundle), [poor], OPTIONS)


def test_teaching_helps_who_means_something_else_by_the_labels(tiny_bundle: Path) -> None:
    engine = Engine(tiny_bundle)
    features, slots = base_examples(engine, drawn(5, 4), per_label=20, seed=0)
    base = taught_state(engine, features, slots, TeachOptions(prior_count=0.1))
    same = score_people(engine, people_of(engine, drawn(3, 6, first_user=50)), OPTIONS, start=base)
    swapped = people_of(engine, drawn(3, 6, first_user=50, swapped=True))
    other = score_people(engine, swapped, OPTIONS, start=base)
    assert same.unadapted.mean() > 0.9
    assert other.unadapted == pytest.approx(1 / 3, abs=0.1)  # only the box is right
    for shots in OPTIONS.shots:
        assert other.adapted[shots].mean() > 0.9
        gain, losers = paired_gain(other.unadapted, other.adapted[shots])
        assert gain.low > 0.3
        assert losers == 0
    assert other.unadapted_known == pytest.approx(other.unadapted)  # all labels are taught

    # with a heavy prior three examples move nothing
    stubborn = taught_state(engine, features, slots, TeachOptions(prior_count=1e4))
    kept = score_people(engine, swapped, OPTIONS, start=stubborn)
    assert kept.adapted[3] == pytest.approx(kept.unadapted)


def test_among_the_taught_labels_others_are_no_answer(tiny_bundle: Path) -> None:
    engine = Engine(tiny_bundle)
    features, slots = base_examples(engine, drawn(5, 4), per_label=20, seed=0)
    base = taught_state(engine, features, slots, TeachOptions())
    pool = drawn(3, 6, first_user=50)
    box = pool.images[pool.classes == 2][0]
    bars = pool.classes == 1
    # a bar that looks like a box is taken for one, unless boxes are no answer
    images = np.where(bars[:, None, None], box, pool.images)
    odd = replace(pool, images=images).take(np.flatnonzero(pool.classes != 2))
    options = replace(OPTIONS, min_labels=2)
    found = score_people(engine, people_of(engine, odd), options, start=base)
    assert found.unadapted == pytest.approx(0.5)  # the dots
    logits = engine.predict(engine.embed(odd.inputs(np.arange(len(odd.classes)))), base).logits
    right = logits[:, :2].argmax(1) == odd.classes
    assert found.unadapted_known == pytest.approx(right.mean())
    assert found.adapted_known[3].mean() > 0.9


def test_the_first_of_each_and_the_accuracy_on_the_rest(tiny_bundle: Path) -> None:
    slots = np.array([1, 0, 1, 1, 0])
    assert first_of_each(slots, 1).tolist() == [True, True, False, False, False]
    assert first_of_each(slots, 2).tolist() == [True, True, True, False, True]
    engine = Engine(tiny_bundle)
    (one,) = people_of(engine, drawn(1, 5))
    taught = first_of_each(one.slots, 2)
    assert accuracy_after(engine, one.features, one.slots, taught) > 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shots": ()}, "shots must be ascending"),
        ({"shots": (3, 1)}, "shots must be ascending"),
        ({"shots": (1, 1)}, "shots must be ascending"),
        ({"shots": (0, 1)}, "shots must be ascending"),
        ({"seeds": 0}, "seeds must be >= 1"),
        ({"min_labels": 0}, "min_labels must be >= 1"),
        ({"seed": -1}, "seed must be >= 0"),
    ],
)
def test_options_that_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        replace(OPTIONS, **changes)  # type: ignore[arg-type]
