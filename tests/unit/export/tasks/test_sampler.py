"""Episodes: right labels, distinct images, symmetric layout, one user where wanted."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from export.tasks.base import ImagePool, NotEnoughImagesError
from export.tasks.sampler import EpisodeOptions, EpisodeSampler


def numbered_pool(classes: int = 9, users: int = 4, repeats: int = 3) -> ImagePool:
    """Every image carries its own row number in its first two pixels."""
    n = classes * users * repeats
    images = np.zeros((n, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(n) // 200, np.arange(n) % 200
    order = np.random.default_rng(0).permutation(n)
    return ImagePool(
        images=images,
        classes=(np.arange(n) % classes)[order].astype(np.int64),
        users=(np.arange(n) // classes % users)[order].astype(np.int64),
        class_names=[str(c) for c in range(classes)],
    )


def rows_of(images: np.ndarray) -> np.ndarray:
    pixels = np.rint(images[:, 0, 0, :2] * 255).astype(np.int64)
    return pixels[:, 0] * 200 + pixels[:, 1]


def test_shapes_and_dtypes() -> None:
    options = EpisodeOptions(ways=5, shots=2, queries=3, draws=4)
    batch = EpisodeSampler(numbered_pool(), options).draw(np.random.default_rng(1))
    assert batch.images.shape == (4 * 5 * 5, 1, 28, 28)
    assert batch.images.dtype == np.float32
    assert batch.support.shape == batch.support_y.shape == (4, 10)
    assert batch.query.shape == batch.query_y.shape == (4, 15)
    for array in (batch.support, batch.support_y, batch.query, batch.query_y):
        assert array.dtype == np.int64
    assert batch.ways == 5
    assert batch.images_per_class == 5


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_label_names_one_class_and_no_image_is_on_both_sides(symmetric: bool) -> None:
    pool = numbered_pool()
    options = EpisodeOptions(ways=6, shots=1, queries=3, draws=3, symmetric=symmetric)
    batch = EpisodeSampler(pool, options).draw(np.random.default_rng(2))
    classes = pool.classes[rows_of(batch.images)]
    for support, labels, query, query_labels in zip(
        batch.support, batch.support_y, batch.query, batch.query_y, strict=True
    ):
        names = dict(zip(labels.tolist(), classes[support].tolist(), strict=True))
        assert len(set(names.values())) == 6
        assert [names[y] for y in query_labels.tolist()] == classes[query].tolist()
        assert not set(support.tolist()) & set(query.tolist())
        assert len(set(query.tolist())) == query.size
        assert np.bincount(query_labels).tolist() == [3] * 6


def test_no_image_is_drawn_twice_within_a_draw() -> None:
    options = EpisodeOptions(ways=9, shots=4, queries=8)
    batch = EpisodeSampler(numbered_pool(), options).draw(np.random.default_rng(3))
    assert len(set(rows_of(batch.images).tolist())) == 9 * 12


def test_symmetric_every_image_is_support_once_and_query_of_all_others() -> None:
    options = EpisodeOptions(ways=4, queries=2, draws=2, symmetric=True)
    batch = EpisodeSampler(numbered_pool(), options).draw(np.random.default_rng(4))
    assert options.episodes == len(batch.support) == 6
    assert np.bincount(batch.support.reshape(-1)).tolist() == [1] * 24
    assert np.bincount(batch.query.reshape(-1)).tolist() == [2] * 24
    for support, query in zip(batch.support, batch.query, strict=True):
        used = np.concatenate([support, query])
        assert len(set((used // 12).tolist())) == 1  # one draw only
        assert np.unique(used).size == 12


def test_neighbouring_rows_show_one_class() -> None:
    pool = numbered_pool()
    options = EpisodeOptions(ways=5, queries=2, draws=2, symmetric=True)
    batch = EpisodeSampler(pool, options).draw(np.random.default_rng(5))
    classes = pool.classes[rows_of(batch.images)].reshape(-1, batch.images_per_class)
    assert (classes == classes[:, :1]).all()


def test_per_user_draws_come_from_one_user_each() -> None:
    pool = numbered_pool()
    options = EpisodeOptions(ways=4, shots=1, queries=2, draws=12, per_user=True)
    batch = EpisodeSampler(pool, options).draw(np.random.default_rng(6))
    users = pool.users[rows_of(batch.images)].reshape(12, -1)
    assert (users == users[:, :1]).all()
    assert len(set(users[:, 0].tolist())) > 1


def test_same_seed_same_batch_and_other_seed_another() -> None:
    sampler = EpisodeSampler(numbered_pool(), EpisodeOptions(ways=5))
    first, again, other = (sampler.draw(np.random.default_rng(s)) for s in (7, 7, 8))
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


def test_classes_and_images_are_drawn_evenly() -> None:
    pool = numbered_pool(classes=6, users=1, repeats=5)
    sampler = EpisodeSampler(pool, EpisodeOptions(ways=2, shots=1, queries=1))
    rng = np.random.default_rng(9)
    rows = np.concatenate([rows_of(sampler.draw(rng).images) for _ in range(1500)])
    counts = np.bincount(rows, minlength=30)
    # 200 expected each; the deviation is below 14, so five of them are 70
    assert np.abs(counts - 200).max() < 70


def test_a_class_with_too_few_images_is_never_drawn() -> None:
    pool = numbered_pool(classes=5, users=1, repeats=4)
    thinned = pool.take(np.flatnonzero((pool.classes != 2) | (np.arange(20) < 3)))
    sampler = EpisodeSampler(thinned, EpisodeOptions(ways=4, shots=2, queries=2))
    rng = np.random.default_rng(10)
    for _ in range(20):
        drawn = pool.classes[rows_of(sampler.draw(rng).images)]
        assert 2 not in drawn.tolist()


@pytest.mark.parametrize(
    ("options", "pool"),
    [
        (EpisodeOptions(ways=10), numbered_pool(classes=9)),
        (EpisodeOptions(ways=3, shots=5, queries=8), numbered_pool(users=1, repeats=12)),
        (EpisodeOptions(ways=3, shots=2, queries=2, per_user=True), numbered_pool(repeats=3)),
    ],
)
def test_a_pool_that_is_too_small_is_refused(options: EpisodeOptions, pool: ImagePool) -> None:
    with pytest.raises(NotEnoughImagesError):
        EpisodeSampler(pool, options)


@pytest.mark.parametrize(
    "wrong",
    [{"ways": 1}, {"shots": 0}, {"queries": 0}, {"draws": 0}, {"shots": 2, "symmetric": True}],
)
def test_bad_options_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidOptionError):
        EpisodeOptions(**wrong)  # type: ignore[arg-type]


def test_an_empty_selection_is_refused() -> None:
    with pytest.raises(NotEnoughImagesError):
        numbered_pool().of_user(99)
