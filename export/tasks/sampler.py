"""Draws batches of few-shot episodes from a pool; each image is in a batch once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from export.tasks.base import EpisodeBatch, ImagePool, NotEnoughImagesError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.tasks.functions import FunctionPool


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeOptions:
    """The make of one batch of episodes.

    Attributes:
        ways: Classes in an episode, at least 2.
        shots: Support images of a class, at least 1.
        queries: Query images of a class, at least 1.
        draws: Independent draws of classes in a batch, at least 1.
        symmetric: Every image of a class is in turn its one-shot support while its others are
            queries, so that one draw gives `1 + queries` episodes that share their images.
            Needs `shots == 1`.
        per_user: Each draw takes all its images from one random user.
        within_group: Each draw takes all its classes from one random group, such as an alphabet,
            whose characters are harder to tell apart.
        max_ways: Each batch has a random number of ways, from `ways` to this; None: always `ways`.
        max_shots: The same of shots, from `shots`. A learner that met many numbers of both serves
            any of them.

    Of a regression a draw is one function, `shots` and `queries` are points on it, and the other
    options have no meaning but `max_shots`.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 5
    draws: int = 1
    symmetric: bool = False
    per_user: bool = False
    within_group: bool = False
    max_ways: int | None = None
    max_shots: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("ways", 2), ("shots", 1), ("queries", 1), ("draws", 1)):
            if getattr(self, name) < least:
                msg = f"{name} must be >= {least}, got {getattr(self, name)}"
                raise InvalidOptionError(msg)
        if self.symmetric and (self.shots, self.max_shots or 1) != (1, 1):
            msg = f"symmetric episodes are one-shot, got shots={self.max_shots or self.shots}"
            raise InvalidOptionError(msg)
        if self.per_user and self.within_group:
            msg = "a draw is of one user or of one group; leave per_user or within_group out"
            raise InvalidOptionError(msg)
        for name in ("ways", "shots"):
            largest = getattr(self, f"max_{name}")
            if largest is not None and largest < getattr(self, name):
                msg = f"max_{name} must be >= {name}, got {largest}"
                raise InvalidOptionError(msg)

    @property
    def largest(self) -> EpisodeOptions:
        """The batch with the most ways and shots."""
        return self._fixed(self.max_ways or self.ways, self.max_shots or self.shots)

    def pick(self, rng: np.random.Generator) -> EpisodeOptions:
        """The make of the next batch: one number of ways, and one of shots."""
        ways, shots = self.ways, self.shots
        if self.max_ways is not None:
            ways = int(rng.integers(ways, self.max_ways + 1))
        if self.max_shots is not None:
            shots = int(rng.integers(shots, self.max_shots + 1))
        return self._fixed(ways, shots)

    def _fixed(self, ways: int, shots: int) -> EpisodeOptions:
        return replace(self, ways=ways, shots=shots, max_ways=None, max_shots=None)

    @property
    def images_per_class(self) -> int:
        """Images of a class in one draw."""
        return self.shots + self.queries

    @property
    def episodes(self) -> int:
        """Episodes in a batch."""
        return self.draws * (self.images_per_class if self.symmetric else 1)


class EpisodeSampler:
    """Draws `EpisodeBatch`es from one pool."""

    def __init__(self, pool: ImagePool | FunctionPool, options: EpisodeOptions) -> None:
        """Index `pool`.

        Raises:
            NotEnoughImagesError: The pool cannot supply one episode.
            InvalidOptionError: Groups are asked for, and the pool has none.
        """
        self.options = options
        self._episodes = _ImageEpisodes(pool, options) if isinstance(pool, ImagePool) else pool

    def draw(self, rng: np.random.Generator) -> EpisodeBatch:
        """Draw a batch: classes without replacement in a draw, images without in a class."""
        now = self.options.pick(rng)
        if isinstance(self._episodes, _ImageEpisodes):
            return self._episodes.draw(now, rng)
        return _draw_functions(self._episodes, now, rng)


class _ImageEpisodes:
    """Episodes of images.

    A *cell* is the set of images that may stand for a class in one draw: those of the class, or of
    the class and the draw's user. Cells with too few images are left out. A *deck* is what one draw
    takes its cells from: all of them, or those of one user or one group.
    """

    def __init__(self, pool: ImagePool, options: EpisodeOptions) -> None:
        self._pool = pool
        most = options.largest
        owners = _owners(pool, options)
        order = np.lexsort((pool.classes, owners))
        keys = np.stack([owners[order], pool.classes[order]], axis=1)
        first = np.ones(len(order), dtype=bool)
        first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        starts = np.flatnonzero(first)
        sizes = np.diff(np.append(starts, len(order)))
        fit = sizes >= most.images_per_class
        self._order, self._starts, self._sizes = order, starts[fit], sizes[fit]
        cell_owners = keys[starts[fit], 0]
        self._decks = [
            deck
            for owner in np.unique(cell_owners)
            if (deck := np.flatnonzero(cell_owners == owner)).size >= most.ways
        ]
        if not self._decks:
            whose = "of any one user " if options.per_user else ""
            whose = "of any one group " if options.within_group else whose
            msg = (
                f"{most.ways} ways need as many classes {whose}with at least "
                f"{most.images_per_class} images each; the pool has fewer"
            )
            raise NotEnoughImagesError(msg)

    def draw(self, o: EpisodeOptions, rng: np.random.Generator) -> EpisodeBatch:
        cells = np.stack([self._draw_cells(o.ways, rng) for _ in range(o.draws)])
        rows = self._draw_rows(cells.reshape(-1), o.images_per_class, rng)
        support, query = _layout(o)
        labels = np.arange(o.ways, dtype=np.int64)
        episodes = len(support)
        return EpisodeBatch(
            images=self._pool.inputs(rows.reshape(-1)),
            support=support,
            support_y=np.tile(labels.repeat(support.shape[1] // o.ways), (episodes, 1)),
            query=query,
            query_y=np.tile(labels.repeat(query.shape[1] // o.ways), (episodes, 1)),
            ways=o.ways,
            images_per_class=o.images_per_class,
            pool_rows=rows.reshape(-1),
        )

    def _draw_cells(self, ways: int, rng: np.random.Generator) -> NDArray[np.int64]:
        deck = (
            self._decks[0] if len(self._decks) == 1 else self._decks[rng.integers(len(self._decks))]
        )
        return rng.choice(deck, ways, replace=False)

    def _draw_rows(
        self, cells: NDArray[np.int64], k: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Distinct pool rows for each cell, `[num_cells, k]`."""
        sizes = self._sizes[cells]
        keys = rng.random((len(cells), int(sizes.max())))
        keys[np.arange(keys.shape[1]) >= sizes[:, None]] = 2.0
        chosen = keys.argpartition(k - 1, axis=1)[:, :k]
        chosen_keys = np.take_along_axis(keys, chosen, axis=1)
        chosen = np.take_along_axis(chosen, chosen_keys.argsort(axis=1), axis=1)
        rows: NDArray[np.int64] = self._order[self._starts[cells][:, None] + chosen]
        return rows


def _owners(pool: ImagePool, o: EpisodeOptions) -> NDArray[np.int64]:
    """Whose deck each image is in, `[num_images]`."""
    if o.per_user:
        return pool.users
    if not o.within_group:
        return np.zeros_like(pool.users)
    if pool.groups is None:
        msg = "within_group needs classes in groups, such as alphabets; this source has none"
        raise InvalidOptionError(msg)
    return pool.groups


def _layout(o: EpisodeOptions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of `images` for support and query of each episode."""
    k = o.images_per_class
    rows = np.arange(o.draws * o.ways * k).reshape(o.draws, o.ways, k)
    if not o.symmetric:
        support, query = rows[..., : o.shots], rows[..., o.shots :]
        return support.reshape(o.draws, -1), query.reshape(o.draws, -1)
    others = np.stack([np.delete(np.arange(k), i) for i in range(k)])
    query = rows[:, :, others].transpose(0, 2, 1, 3)
    return rows.transpose(0, 2, 1).reshape(o.episodes, -1), query.reshape(o.episodes, -1)


def _draw_functions(
    pool: FunctionPool, o: EpisodeOptions, rng: np.random.Generator
) -> EpisodeBatch:
    points = o.images_per_class
    x, y = pool.draw(o.draws, points, rng)
    rows = np.arange(o.draws * points).reshape(o.draws, points)
    return EpisodeBatch(
        images=x.reshape(-1, *pool.input_shape),
        support=rows[:, : o.shots],
        support_y=y[:, : o.shots],
        query=rows[:, o.shots :],
        query_y=y[:, o.shots :],
        ways=1,
        images_per_class=points,
    )
