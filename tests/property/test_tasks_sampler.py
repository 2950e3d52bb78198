"""Laws of episodes over any pool and any options that fit it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from export.tasks.base import ImagePool
from export.tasks.sampler import EpisodeOptions, EpisodeSampler


@st.composite
def samplers(draw: st.DrawFn) -> tuple[ImagePool, EpisodeOptions]:
    """A pool whose image i has the pixel value i, and options that it can serve."""
    symmetric = draw(st.booleans())
    shots = 1 if symmetric else draw(st.integers(1, 3))
    options = EpisodeOptions(
        ways=draw(st.integers(2, 4)),
        shots=shots,
        queries=draw(st.integers(1, 3)),
        draws=draw(st.integers(1, 3)),
        symmetric=symmetric,
        per_user=draw(st.booleans()),
    )
    users = draw(st.integers(1, 2))
    cells: list[tuple[int, int]] = []
    for user in range(users):
        extra = draw(st.lists(st.integers(0, 3), min_size=options.ways, max_size=options.ways + 1))
        for cls, more in enumerate(extra):
            cells += [(user, cls)] * (options.images_per_class + more)
    order = draw(st.permutations(cells))
    n = len(order)
    values = np.arange(n, dtype=np.uint8)  # at most 90 images
    pool = ImagePool(
        images=np.broadcast_to(values[:, None, None], (n, 28, 28)),
        classes=np.array([cls for _, cls in order], dtype=np.int64),
        users=np.array([user for user, _ in order], dtype=np.int64),
        class_names=[str(c) for c in range(6)],
    )
    return pool, options


@settings(deadline=None)
@given(setting=samplers(), seed=st.integers(0, 2**32 - 1))
def test_every_episode_is_a_fair_task(setting: tuple[ImagePool, EpisodeOptions], seed: int) -> None:
    pool, options = setting
    batch = EpisodeSampler(pool, options).draw(np.random.default_rng(seed))
    rows = np.rint(batch.images[:, 0, 0, 0] * 255).astype(int)
    assert len(batch.support) == options.episodes
    assert set(batch.support.reshape(-1)) | set(batch.query.reshape(-1)) == set(range(len(rows)))
    for support, support_y, query, query_y in zip(
        batch.support, batch.support_y, batch.query, batch.query_y, strict=True
    ):
        used = rows[np.concatenate([support, query])]
        assert len(set(used.tolist())) == used.size  # no image twice, on either side
        assert np.bincount(support_y).tolist() == [options.shots] * options.ways
        assert np.bincount(query_y).tolist() == [options.queries] * options.ways
        pairs = {
            (int(label), int(pool.classes[row]))
            for row, label in zip(used, np.concatenate([support_y, query_y]), strict=True)
        }
        assert len(pairs) == options.ways == len({cls for _, cls in pairs})
        if options.per_user:
            assert len(set(pool.users[used].tolist())) == 1
