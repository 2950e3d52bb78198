"""Personalization to people: what teaching gives to writers whom no training saw.

A row's bundle is taught the labels with examples of the training writers, which gives a generic
model that names its labels (`export.taught_bundle`). Each test writer then teaches it a few
examples, and both are asked the writer's other examples. How the generic model is taught is chosen
on the validation writers, once for its own accuracy and once for that after teaching: each side of
the comparison is at its best, and test writers choose nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import InvalidOptionError
from export.intervals import mean_interval
from export.people import LessonOptions, Person, paired_gain, people_of, score_people
from export.tasks.base import TEST, TRAIN, VALIDATION, ImagePool
from export.taught_bundle import TeachOptions, base_examples, taught_state, write_taught_bundle
from export.toml_file import build, of_type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from export.intervals import Mean
    from export.tasks.base import TaskSource
    from export.tasks.functions import ValueSource

Figures = dict[str, Any]
"""JSON values."""

PRIOR_COUNTS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Tried of learners that count."""

STEPS = (5, 20, 80, 320)
USER_STEPS = (1, 2, 5, 10, 20)
"""Tried of learners that take gradient steps, on the training writers' examples and the user's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PeopleOptions:
    """A suite whose test users are people.

    Attributes:
        labels: Names of the classes that the bundles name; empty: all of the source.
        per_label: Training writers' examples of each label that the generic model is taught.
        shots: As `LessonOptions`.
        min_labels: As `LessonOptions`.
        seeds: As `LessonOptions`.
    """

    labels: tuple[str, ...] = ()
    per_label: int = 100
    shots: tuple[int, ...] = (1, 3)
    min_labels: int = 5
    seeds: int = 5

    def __post_init__(self) -> None:
        if self.per_label < 1:
            msg = f"per_label must be >= 1, got {self.per_label}"
            raise InvalidOptionError(msg)
        self.lessons(0)

    def lessons(self, seed: int) -> LessonOptions:
        """How people teach."""
        return LessonOptions(
            shots=self.shots, min_labels=self.min_labels, seeds=self.seeds, seed=seed
        )


def read_people(values: object, where: str) -> PeopleOptions:
    """The table `[suite.people]` of a config file.

    Raises:
        InvalidOptionError: It has a key or a value that is not as in `PeopleOptions`.
    """
    table = of_type(values, dict, where)
    lists = {"labels": str, "shots": int}
    found = dict(table)
    for name in lists.keys() & table.keys():
        items = of_type(table[name], list, f"{where}: {name}")
        found[name] = tuple(of_type(item, lists[name], f"{where}: {name}") for item in items)
    return build(PeopleOptions, found, where)


def people_figure(options: PeopleOptions, seed: int) -> str:
    """The name of the figure, which holds all that it depends on."""
    text = json.dumps([asdict(options), PRIOR_COUNTS, STEPS, USER_STEPS, seed], sort_keys=True)
    return f"people {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def people_measurements(
    options: PeopleOptions, source: TaskSource | ValueSource, engine: Engine, seed: int
) -> dict[str, Callable[[], Figures]]:
    """What to measure of a row, as `export.benchmark.run.measurements`."""
    return {people_figure(options, seed): lambda: _measure(options, source, engine, seed)}


def _measure(
    options: PeopleOptions, source: TaskSource | ValueSource, engine: Engine, seed: int
) -> Figures:
    train, validation, test = (
        _only(source.pool(split), options.labels) for split in (TRAIN, VALIDATION, TEST)
    )
    features, slots = base_examples(engine, train, per_label=options.per_label, seed=seed)
    lessons = options.lessons(seed)
    generic, personal = _choose(engine, features, slots, people_of(engine, validation), lessons)
    folder = engine.bundle.path.parent / people_figure(options, seed).replace(" ", "-")
    engines = []
    for name, chosen in (("generic", generic), ("personal", personal)):
        state = taught_state(engine, features, slots, chosen)
        write_taught_bundle(
            folder / name, engine.bundle, train.class_names, state, chosen,
            examples=len(slots), overwrite=True,
        )  # fmt: skip
        engines.append(Engine(open_bundle(folder / name)))
    people = people_of(engine, test)
    before, after = (score_people(taught, people, lessons) for taught in engines)
    return {
        "people": len(before.unadapted),
        "labels": len(train.class_names),
        "generic": asdict(generic),
        "personal": asdict(personal),
        "unadapted": _as_json(mean_interval(before.unadapted)),
        "unadapted_of_personal": _as_json(mean_interval(after.unadapted)),
        "unadapted_known": _as_json(mean_interval(before.unadapted_known)),
        "shots": {
            str(shots): {
                "adapted": _as_json(mean_interval(after.adapted[shots])),
                "adapted_known": _as_json(mean_interval(after.adapted_known[shots])),
                **_gains("", before.unadapted, after.adapted[shots]),
                **_gains("_known", before.unadapted_known, after.adapted_known[shots]),
            }
            for shots in options.shots
        },
    }


def _choose(
    engine: Engine,
    features: NDArray[np.float32],
    slots: NDArray[np.int64],
    people: Sequence[Person],
    lessons: LessonOptions,
) -> tuple[TeachOptions, TeachOptions]:
    """The options that are best on validation people before, and after they teach."""
    gradient = engine.bundle.manifest.adaptation == "gradient"
    starts = (
        [TeachOptions(steps=steps) for steps in STEPS]
        if gradient
        else [TeachOptions(prior_count=count) for count in PRIOR_COUNTS]
    )
    before, after = [], []
    for options in starts:
        state = taught_state(engine, features, slots, options)
        for user_steps in USER_STEPS if gradient else (None,):
            found = score_people(engine, people, lessons, start=state, steps=user_steps)
            tried = TeachOptions(
                prior_count=options.prior_count, steps=options.steps, user_steps=user_steps
            )
            before.append((float(found.unadapted.mean()), tried))
            after.append((float(np.mean([a.mean() for a in found.adapted.values()])), tried))
    generic, personal = (max(pairs, key=lambda pair: pair[0])[1] for pairs in (before, after))
    return generic, personal


def _only(pool: object, labels: Sequence[str]) -> ImagePool:
    """The images of the classes of these names, which become the classes 0, 1, ..."""
    if not isinstance(pool, ImagePool):
        msg = "people need a source of images with a user each"
        raise InvalidOptionError(msg)
    names = {name: number for number, name in enumerate(pool.class_names)}
    unknown = sorted(set(labels) - set(names))
    if unknown:
        msg = f"the source has no classes named {', '.join(unknown)}"
        raise InvalidOptionError(msg)
    return pool.of_classes([names[label] for label in labels or pool.class_names])


def _gains(suffix: str, before: NDArray[np.float64], after: NDArray[np.float64]) -> Figures:
    gain, losers = paired_gain(before, after)
    each = np.round(after - before, 4).tolist()
    return {f"gain{suffix}": _as_json(gain), f"losers{suffix}": losers, f"gains{suffix}": each}


def _as_json(mean: Mean) -> Figures:
    return {"mean": mean.mean, "half_width": mean.half_width}
