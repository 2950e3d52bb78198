"""Draws batches of few-shot episodes from a pool of images; each image is in a batch once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from export.tasks.base import EpisodeBatch, NotEnoughImagesError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from export.tasks.base import ImagePool


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
    """

    ways: int = 5
    shots: int = 1
    queries: int = 5
    draws: int = 1
    symmetric: bool = False
    per_user: bool = False

    def __post_init__(self) -> None:
        for name, least in (("ways", 2), ("shots", 1), ("queries", 1), ("draws", 1)):
            if getattr(self, name) < least:
                msg = f"{name} must be >= {least}, got {getattr(self, name)}"
                raise InvalidOptionError(msg)
        if self.symmetric and self.shots != 1:
            msg = f"symmetric episodes are one-shot, got shots={self.shots}"
            raise InvalidOptionError(msg)

    @property
    def images_per_class(self) -> int:
        """Images of a class in one draw."""
        return self.shots + self.queries

    @property
    def episodes(self) -> int:
        """Episodes in a batch."""
        return self.draws * (self.images_per_class if self.symmetric else 1)


class EpisodeSampler:
    """Draws `EpisodeBatch`es from one pool.

    A *cell* is the set of images that may stand for a class in one draw: those of the class, or of
    the class and the draw's user. Cells with too few images are left out.
    """

    def __init__(self, pool: ImagePool, options: EpisodeOptions) -> None:
        """Index `pool`.

        Raises:
            NotEnoughImagesError: The pool cannot supply one episode.
        """
        self.options = options
        self._images = pool.images
        owners = pool.users if options.per_user else np.zeros_like(pool.users)
        order = np.lexsort((pool.classes, owners))
        keys = np.stack([owners[order], pool.classes[order]], axis=1)
        first = np.ones(len(order), dtype=bool)
        first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        starts = np.flatnonzero(first)
        sizes = np.diff(np.append(starts, len(order)))
        fit = sizes >= options.images_per_class
        self._order, self._starts, self._sizes = order, starts[fit], sizes[fit]
        cell_owners = keys[starts[fit], 0]
        self._decks = [
            deck
            for owner in np.unique(cell_owners)
            if (deck := np.flatnonzero(cell_owners == owner)).size >= options.ways
        ]
        if not self._decks:
            whose = "of any one user " if options.per_user else ""
            msg = (
                f"{options.ways} ways need as many classes {whose}with at least "
                f"{options.images_per_class} images each; the pool has fewer"
            )
            raise NotEnoughImagesError(msg)

    def draw(self, rng: np.random.Generator) -> EpisodeBatch:
        """Draw a batch: classes without replacement in a draw, images without in a class."""
        o = self.options
        cells = np.stack([self._draw_cells(rng) for _ in range(o.draws)])
        rows = self._draw_rows(cells.reshape(-1), rng)
        images = self._images[rows.reshape(-1)].astype(np.float32)
        images /= 255.0
        support, query = self._layout()
        labels = np.arange(o.ways, dtype=np.int64)
        episodes = len(support)
        return EpisodeBatch(
            images=images[:, None],
            support=support,
            support_y=np.tile(labels.repeat(support.shape[1] // o.ways), (episodes, 1)),
            query=query,
            query_y=np.tile(labels.repeat(query.shape[1] // o.ways), (episodes, 1)),
            ways=o.ways,
            images_per_class=o.images_per_class,
        )

    def _draw_cells(self, rng: np.random.Generator) -> NDArray[np.int64]:
        deck = (
            self._decks[0] if len(self._decks) == 1 else self._decks[rng.integers(len(self._decks))]
        )
        return rng.choice(deck, self.options.ways, replace=False)

    def _draw_rows(self, cells: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Distinct pool rows for each cell, `[num_cells, images_per_class]`."""
        k, sizes = self.options.images_per_class, self._sizes[cells]
        keys = rng.random((len(cells), int(sizes.max())))
        keys[np.arange(keys.shape[1]) >= sizes[:, None]] = 2.0
        chosen = keys.argpartition(k - 1, axis=1)[:, :k]
        chosen_keys = np.take_along_axis(keys, chosen, axis=1)
        chosen = np.take_along_axis(chosen, chosen_keys.argsort(axis=1), axis=1)
        rows: NDArray[np.int64] = self._order[self._starts[cells][:, None] + chosen]
        return rows

    def _layout(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of `images` for support and query of each episode."""
        o = self.options
        k = o.images_per_class
        rows = np.arange(o.draws * o.ways * k).reshape(o.draws, o.ways, k)
        if not o.symmetric:
            support, query = rows[..., : o.shots], rows[..., o.shots :]
            return support.reshape(o.draws, -1), query.reshape(o.draws, -1)
        others = np.stack([np.delete(np.arange(k), i) for i in range(k)])
        query = rows[:, :, others].transpose(0, 2, 1, 3)
        return rows.transpose(0, 2, 1).reshape(o.episodes, -1), query.reshape(o.episodes, -1)
