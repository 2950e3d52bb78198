"""What teaching gives to one person: accuracy before and after, on that person's other examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from export.intervals import mean_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from edge_sdk import Engine, State
    from export.intervals import Mean
    from export.tasks.base import ImagePool

_EMBED_BATCH = 256
_STREAM = 2


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One user's examples.

    Attributes:
        user: Who.
        features: float32 `[n, *features.shape]`.
        slots: Their labels, int64 `[n]`.
    """

    user: int
    features: NDArray[np.float32]
    slots: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """One draw of what a person teaches and is then asked.

    Attributes:
        person: Who.
        taught: Rows of the examples to teach, int64 `[labels, most]`: `taught[:, :k]` is the lesson
            of k examples a label.
        asked: Rows of all the person's other examples, int64 `[queries]`, of whatever label.
    """

    person: Person
    taught: NDArray[np.int64]
    asked: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class LessonOptions:
    """How people teach.

    Attributes:
        shots: Examples of each label, ascending; the larger lessons hold the smaller ones, and all
            are judged on the same examples.
        min_labels: Who cannot teach so many labels, with one more example of each to be asked, does
            not take part.
        seeds: Draws for each person.
        seed: Of the draws.
    """

    shots: tuple[int, ...] = (1, 3)
    min_labels: int = 5
    seeds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.shots or list(self.shots) != sorted({*self.shots}) or self.shots[0] < 1:
            msg = "shots must be ascending numbers >= 1, at least one"
            raise InvalidOptionError(msg)
        for name, least in (("min_labels", 1), ("seeds", 1), ("seed", 0)):
            if getattr(self, name) < least:
                msg = f"{name} must be >= {least}, got {getattr(self, name)}"
                raise InvalidOptionError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Accuracy 0..1, one number a person (the mean over draws); float64 `[people]`.

    Attributes:
        unadapted: With the starting state.
        adapted: After teaching, by shots.
        unadapted_known: As `unadapted`, when only the labels that the person taught may be
            answered, on the examples of those: what is gained beyond that is not knowing which
            labels the person uses.
        adapted_known: The same after teaching.
    """

    unadapted: NDArray[np.float64]
    adapted: dict[int, NDArray[np.float64]]
    unadapted_known: NDArray[np.float64]
    adapted_known: dict[int, NDArray[np.float64]]


def people_of(engine: Engine, pool: ImagePool) -> list[Person]:
    """The users of a pool, whose classes are the label slots, in ascending order."""
    people = []
    for user in np.unique(pool.users).tolist():
        rows = np.flatnonzero(pool.users == user)
        people.append(Person(user, embed_rows(engine, pool, rows), pool.classes[rows]))
    return people


def embed_rows(engine: Engine, pool: ImagePool, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Features of the images in `rows`, in batches; float32 `[len(rows), *features.shape]`."""
    starts = range(0, len(rows), _EMBED_BATCH)
    parts = [engine.embed(pool.inputs(rows[i : i + _EMBED_BATCH])) for i in starts]
    return np.concatenate(parts)


def lessons(people: Sequence[Person], options: LessonOptions) -> Iterator[Lesson]:
    """Draw what each person teaches; a draw depends on the seed and the person alone."""
    most = options.shots[-1]
    for person in people:
        for draw in range(options.seeds):
            rng = np.random.default_rng([options.seed, _STREAM, person.user, draw])
            order = rng.permutation(len(person.slots))
            slots = person.slots[order]
            able = [slot for slot in np.unique(slots) if (slots == slot).sum() > most]
            if len(able) < options.min_labels:
                break
            taught = np.stack([order[slots == slot][:most] for slot in able])
            yield Lesson(person, taught, np.setdiff1d(np.arange(len(slots)), taught))


def score_people(
    engine: Engine,
    people: Sequence[Person],
    options: LessonOptions,
    *,
    start: State | None = None,
    steps: int | None = None,
) -> Scores:
    """Let each person teach, through the device runtime, and score the answers before and after.

    Args:
        engine: The bundle.
        people: Whom it has never seen.
        options: What they teach.
        start: The state before; the bundle's by default.
        steps: Inner steps of one lesson; the bundle's by default.

    Raises:
        InvalidOptionError: Nobody has enough examples to take part.
    """
    base = engine.initial_state() if start is None else start
    rows: dict[int, list[list[tuple[float, float]]]] = {}
    for lesson in lessons(people, options):
        person, found = lesson.person, [_right(engine, base, lesson)]
        for shots in options.shots:
            chosen = lesson.taught[:, :shots].ravel()
            features, slots = person.features[chosen], person.slots[chosen]
            state = engine.adapt(features, slots, steps=steps, start=base).state
            found.append(_right(engine, state, lesson))
        rows.setdefault(person.user, []).append(found)
    if not rows:
        msg = (
            f"nobody has {options.shots[-1] + 1} examples of {options.min_labels} labels; "
            "ask for fewer"
        )
        raise InvalidOptionError(msg)
    means = np.array([np.mean(draws, axis=0) for draws in rows.values()])  # [people, 1 + shots, 2]
    every, known = means[..., 0], means[..., 1]
    return Scores(
        unadapted=every[:, 0],
        adapted={shots: every[:, i + 1] for i, shots in enumerate(options.shots)},
        unadapted_known=known[:, 0],
        adapted_known={shots: known[:, i + 1] for i, shots in enumerate(options.shots)},
    )


def accuracy_after(
    engine: Engine,
    features: NDArray[np.float32],
    slots: NDArray[np.int64],
    taught: NDArray[np.bool_],
) -> float:
    """Share of right answers on the examples that were not taught, after those that were.

    Args:
        engine: The bundle.
        features: One person's, float32 `[n, *features.shape]`.
        slots: Their labels, int64 `[n]`.
        taught: Which of them are taught; at least one, and not all.
    """
    state = engine.adapt(features[taught], slots[taught]).state
    found = engine.predict(features[~taught], state).logits.argmax(1)
    return float((found == slots[~taught]).mean())


def first_of_each(slots: NDArray[np.int64], shots: int) -> NDArray[np.bool_]:
    """Which examples are among the first `shots` of their label, bool `[n]`."""
    chosen = np.zeros(len(slots), bool)
    for slot in np.unique(slots):
        chosen[np.flatnonzero(slots == slot)[:shots]] = True
    return chosen


def paired_gain(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[Mean, float]:
    """The mean gain, paired by person, with its 95 % interval; and the share of people who lose."""
    gain = after - before
    return mean_interval(gain), float((gain < 0).mean())


def _right(engine: Engine, state: State, lesson: Lesson) -> tuple[float, float]:
    """Share of right answers among all labels, and among those that are taught."""
    person, asked = lesson.person, lesson.asked
    truth = person.slots[asked]
    logits = engine.predict(person.features[asked], state).logits
    taught = person.slots[lesson.taught[:, 0]]
    among = np.isin(truth, taught)
    restricted = taught[logits[among][:, taught].argmax(1)]
    every = float((logits.argmax(1) == truth).mean())
    return every, float((restricted == truth[among]).mean())
