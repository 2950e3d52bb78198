"""Who takes part in a simulated study: writers of one task source, and writers held out from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from export.tasks.base import SPLITS, TEST, ImagePool
from export.tasks.digit_writers import DigitWriterOptions, digit_writers, part_pool
from export.tasks.digits import DigitTasks
from export.tasks.glyphs import GlyphOptions, GlyphTasks
from export.tasks.hapt import HaptTasks
from export.tasks.omniglot import OmniglotTasks
from export.tasks.unipen import UnipenTasks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class PopulationOptions:
    """How many writers there are.

    Attributes:
        writers: Users who take part in rounds; 0: all real people who are not held out.
        held_out: Users who take part in none and are only measured, at least 2 (for an interval).
        images: Images of each class that a user has; Omniglot's drawers have the one they drew.
        seed: Of the writers and of who is held out, at least 0.
    """

    writers: int = 12
    held_out: int = 8
    images: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("writers", 0), ("held_out", 2), ("images", 1), ("seed", 0)):
            if getattr(self, name) < least:
                msg = f"{name} must be >= {least}, got {getattr(self, name)}"
                raise InvalidOptionError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """Two groups of users of the same classes, with no user and no image in both.

    Attributes:
        labels: What the classes 0, 1, ... of both pools are.
        taking_part: The users of the rounds.
        held_out: The users who are only measured.
        digest: SHA-256 hex of the source's data, for provenance.
    """

    labels: tuple[str, ...]
    taking_part: ImagePool
    held_out: ImagePool
    digest: str


def open_population(
    tasks: str, options: PopulationOptions, *, max_classes: int, data: Path | None = None
) -> Population:
    """Make the writers of a source's test split, which no training saw.

    Args:
        tasks: "digits" (real digits in simulated styles), "glyphs" (invented), "omniglot" (the
            drawers of one alphabet), "unipen" (its writers: all of them, so the bundle must not
            have been trained on any) or "hapt" (30 people's movements as pictures).
        options: How many writers.
        max_classes: At most this many classes: the bundle's slots.
        data: The folder of the real data sets.

    Raises:
        InvalidOptionError: There is no such source, or it has too few users.
        NotEnoughImagesError: The source has too few images for so many writers.
        DataNotFoundError, BadDataError, MissingExtraError: As `export.tasks.registry.open_tasks`.
    """
    if tasks not in _MAKERS:
        msg = f"tasks must be one of {', '.join(sorted(_MAKERS))}, got {tasks!r}"
        raise InvalidOptionError(msg)
    if options.writers == 0 and tasks in _SIMULATED:
        msg = f"{tasks} invents its writers; say how many there are to be"
        raise InvalidOptionError(msg)
    return _MAKERS[tasks](options, max_classes, data)


def _digits(options: PopulationOptions, max_classes: int, _: Path | None) -> Population:
    source = DigitTasks()
    rng = np.random.default_rng(options.seed)
    pool = source.pool(TEST)
    pool = pool.of_classes(np.unique(pool.classes)[:max_classes].tolist())
    share = options.writers / (options.writers + options.held_out)
    parts = part_pool(pool, share, rng)
    groups = [
        digit_writers(
            part, DigitWriterOptions(writers=number, images_per_digit=options.images), rng
        )
        for part, number in zip(parts, (options.writers, options.held_out), strict=True)
    ]
    return Population(
        labels=tuple(pool.class_names),
        taking_part=groups[0],
        held_out=replace(groups[1], users=groups[1].users + options.writers),
        digest=source.digest(),
    )


def _glyphs(options: PopulationOptions, max_classes: int, _: Path | None) -> Population:
    users = options.writers + options.held_out
    source = GlyphTasks(
        seed=options.seed,
        options=GlyphOptions(
            train_classes=1,
            held_out_classes=min(10, max_classes),
            writers=users,
            writers_per_class=users,
            drawings=options.images,
        ),
    )
    pool = source.pool(TEST)
    return _split_users(pool, np.unique(pool.classes), options, source.digest())


def _omniglot(options: PopulationOptions, max_classes: int, data: Path | None) -> Population:
    source = OmniglotTasks(data, split="vinyals", rotations=False)
    pool = source.pool(TEST)
    return _split_users(pool, _largest_group(pool)[:max_classes], options, source.digest())


def _unipen(options: PopulationOptions, max_classes: int, data: Path | None) -> Population:
    source = UnipenTasks(data)
    pools = [source.pool(split) for split in SPLITS]
    pool = ImagePool(
        images=np.concatenate([part.images for part in pools]),
        classes=np.concatenate([part.classes for part in pools]),
        users=np.concatenate([part.users for part in pools]),
        class_names=pools[0].class_names,
    )
    return _split_users(pool, np.arange(max_classes), options, source.digest())


def _hapt(options: PopulationOptions, max_classes: int, data: Path | None) -> Population:
    source = HaptTasks(data)
    return _split_users(source.pool(TEST), np.arange(max_classes), options, source.digest())


_SIMULATED = ("digits", "glyphs")
_MAKERS: dict[str, Callable[[PopulationOptions, int, Path | None], Population]] = {
    "digits": _digits,
    "glyphs": _glyphs,
    "hapt": _hapt,
    "omniglot": _omniglot,
    "unipen": _unipen,
}


def _largest_group(pool: ImagePool) -> NDArray[np.int64]:
    """The most classes that were all drawn by the same users (an alphabet), ascending."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for cls in np.unique(pool.classes).tolist():
        users = np.unique(pool.users[pool.rows_of(cls)])
        groups.setdefault(tuple(users.tolist()), []).append(cls)
    return np.array(max(groups.values(), key=len), np.int64)


def _split_users(
    pool: ImagePool, classes: NDArray[np.int64], options: PopulationOptions, digest: str
) -> Population:
    kept = pool.of_classes(np.intersect1d(classes, pool.classes).tolist())
    users = np.random.default_rng(options.seed).permutation(np.unique(kept.users))
    writers = options.writers or max(1, len(users) - options.held_out)
    needed = writers + options.held_out
    if len(users) < needed:
        msg = (
            f"the tasks have {len(users)} writers of the same classes, not {needed}; ask for fewer"
        )
        raise InvalidOptionError(msg)
    taking_part, held_out = users[:writers], users[writers:needed]
    return Population(
        labels=tuple(kept.class_names),
        taking_part=_of_users(kept, taking_part),
        held_out=_of_users(kept, held_out),
        digest=digest,
    )


def _of_users(pool: ImagePool, users: Sequence[int] | NDArray[np.int64]) -> ImagePool:
    return pool.take(np.flatnonzero(np.isin(pool.users, users)))
