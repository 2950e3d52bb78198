"""Glyphs: repeatable, disjoint splits, real ink; classes look more alike than strangers do."""

from __future__ import annotations

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from export.tasks.base import SPLITS, NoSuchSplitError
from export.tasks.glyph_shapes import draw_shapes
from export.tasks.glyphs import GlyphOptions, GlyphTasks
from export.tasks.ink import enlarge_matrix, render, rescan

SMALL = GlyphOptions(
    train_classes=30, held_out_classes=12, writers=15, writers_per_class=4, drawings=2
)


@pytest.fixture(scope="module")
def source() -> GlyphTasks:
    return GlyphTasks(seed=3, options=SMALL)


def test_same_seed_same_bits_and_other_seed_others(source: GlyphTasks) -> None:
    again, other = GlyphTasks(seed=3, options=SMALL), GlyphTasks(seed=4, options=SMALL)
    for split in reversed(SPLITS):  # the order in which pools are asked for must not matter
        np.testing.assert_array_equal(again.pool(split).images, source.pool(split).images)
    assert again.digest() == source.digest()
    assert other.digest() != source.digest()


def test_pools_have_the_size_shape_and_range_that_is_asked_for(source: GlyphTasks) -> None:
    pool = source.pool("train")
    assert pool.images.shape == (30 * 4 * 2, 28, 28)
    assert pool.images.dtype == np.uint8
    assert len(pool.class_names) == 30
    for c in range(30):
        rows = pool.rows_of(c)
        users, counts = np.unique(pool.users[rows], return_counts=True)
        assert len(users) == 4
        assert counts.tolist() == [2] * 4
    peaks = pool.images.max(axis=(1, 2))
    assert peaks.min() > 60  # nobody's pen is dry
    shares = (pool.images > 128).mean(axis=(1, 2))
    assert shares.max() < 0.7  # and nobody spills the pot


def test_splits_share_no_class_and_no_writer(source: GlyphTasks) -> None:
    pools = [source.pool(split) for split in SPLITS]
    names = [name for pool in pools for name in pool.class_names]
    assert len(set(names)) == len(names) == 30 + 12 + 12
    users = [set(pool.users.tolist()) for pool in pools]
    assert not users[0] & users[1]
    assert not users[0] & users[2]
    assert not users[1] & users[2]
    flat = [{image.tobytes() for image in pool.images} for pool in pools]
    assert not flat[0] & flat[1]
    assert not flat[0] & flat[2]
    assert not flat[1] & flat[2]


def test_a_class_is_recognisable_and_no_two_drawings_are_equal(source: GlyphTasks) -> None:
    pool = source.pool("validation")
    flat = pool.images.reshape(len(pool.images), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    alike = flat @ flat.T
    np.fill_diagonal(alike, -1)
    assert alike.max() < 0.9999
    nearest = pool.classes[alike.argmax(axis=1)]
    assert (nearest == pool.classes).mean() > 0.5  # chance is 1 / 12


def test_unknown_splits_and_bad_options_are_refused(source: GlyphTasks) -> None:
    with pytest.raises(NoSuchSplitError):
        source.pool("probe")
    with pytest.raises(InvalidOptionError):
        GlyphOptions(train_classes=0)
    with pytest.raises(InvalidOptionError):
        GlyphOptions(writers=3, writers_per_class=4)
    with pytest.raises(InvalidOptionError):
        GlyphTasks(seed=-1)


def test_shapes_fill_the_square_and_no_present_stroke_is_a_dot() -> None:
    shapes = draw_shapes(500, np.random.default_rng(0))
    inside = np.abs(shapes.points[shapes.present])
    assert inside.max() <= 1 + 1e-5
    spans = np.ptp(shapes.points, axis=2).max(axis=-1)[shapes.present]
    assert spans.min() > 0.01
    assert shapes.present[:, 0].all()


def test_a_straight_line_is_drawn_where_it_is_said_to_be() -> None:
    x = np.linspace(4, 24, 160, dtype=np.float32)
    points = np.stack([x, np.full_like(x, 10.5)], axis=-1)[None]
    ink = np.full((1, 160), 20 / 160, np.float32)
    image = render(points, ink, np.array([0.8], np.float32))[0]
    assert image[10, 6:22].min() > 0.97
    assert image[10].argmin() in (0, 27)
    assert image[[4, 16]].max() < 0.01
    np.testing.assert_allclose(image[9], image[11], atol=1e-5)


def test_rescanning_blurs_only_those_who_ask_and_keeps_the_ink() -> None:
    rng = np.random.default_rng(1)
    images = np.zeros((2, 28, 28), np.float32)
    images[:, 6:22, 6:22] = rng.random((2, 16, 16))
    seen = rescan(images, np.array([1, 3], np.float32), np.zeros(2, np.float32))
    np.testing.assert_array_equal(seen[0], images[0])
    assert not np.allclose(seen[1], images[1], atol=0.1)
    assert abs(seen[1].sum() / images[1].sum() - 1) < 0.02
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_enlarging_keeps_a_flat_grey_flat() -> None:
    matrix = enlarge_matrix(24, 1.5)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
