"""Lake's one-shot classification task: twenty characters of one alphabet, two drawers.

Lake, Salakhutdinov, Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 350(6266), 2015: one drawer's image of each of 20 characters of an alphabet is
the only example of its class, another drawer's image of each is the query. The paper fixes 20 such
runs; here they are drawn at random, from the same alphabets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import InvalidOptionError
from export.tasks.base import EpisodeBatch, ImagePool, NotEnoughImagesError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAYS = 20


class LakeSampler:
    """Draws one episode at a time from a pool with groups (alphabets) and users (drawers)."""

    def __init__(self, pool: ImagePool, *, ways: int = WAYS) -> None:
        """Index `pool`.

        Raises:
            InvalidOptionError: Its classes belong to no groups.
            NotEnoughImagesError: No group has two users with `ways` common classes.
        """
        if pool.groups is None:
            msg = "the lake protocol needs classes in groups, such as alphabets; use omniglot-lake"
            raise InvalidOptionError(msg)
        self._pool, self._ways = pool, ways
        # for each group a table of rows [classes, users], -1 where a user has no image of a class
        self._tables = [
            table
            for group in np.unique(pool.groups)
            if (table := _table(pool, group)).shape[0] >= ways and table.shape[1] >= 2
        ]
        if not self._tables:
            msg = f"no group has two users and {ways} classes"
            raise NotEnoughImagesError(msg)

    def draw(self, rng: np.random.Generator) -> EpisodeBatch:
        """Draw a group, two of its users and `ways` of its classes.

        Raises:
            NotEnoughImagesError: The two users have fewer classes in common.
        """
        table = self._tables[rng.integers(len(self._tables))]
        pair = table[:, rng.choice(table.shape[1], 2, replace=False)]
        common = np.flatnonzero((pair >= 0).all(axis=1))
        if len(common) < self._ways:
            msg = f"two users of a group have fewer than {self._ways} classes in common"
            raise NotEnoughImagesError(msg)
        rows = pair[rng.choice(common, self._ways, replace=False)]
        labels = np.arange(self._ways, dtype=np.int64)[None]
        return EpisodeBatch(
            images=self._pool.inputs(rows.reshape(-1)),
            support=2 * labels,
            support_y=labels,
            query=2 * labels + 1,
            query_y=labels,
            ways=self._ways,
            images_per_class=2,
            pool_rows=rows.reshape(-1),
        )


def _table(pool: ImagePool, group: np.int64) -> NDArray[np.int64]:
    rows = np.flatnonzero(pool.groups == group)
    classes, row_class = np.unique(pool.classes[rows], return_inverse=True)
    users, row_user = np.unique(pool.users[rows], return_inverse=True)
    table = np.full((len(classes), len(users)), -1)
    table[row_class, row_user] = rows
    return table
