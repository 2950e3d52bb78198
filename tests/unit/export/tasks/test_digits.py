"""Real digits and their simulated writers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from edge_sdk.errors import InvalidOptionError
from export.tasks.base import ImagePool, NoSuchSplitError, NotEnoughImagesError
from export.tasks.digit_writers import DigitWriterOptions, digit_writers, part_pool
from export.tasks.digits import DigitTasks

DIGEST = "8cdf69917e3d367359ca244e01023418ecb74f23de9c83fa1446f6e79ef590b1"


@pytest.fixture(scope="module")
def source() -> DigitTasks:
    return DigitTasks()


@pytest.fixture(scope="module")
def pool(source: DigitTasks) -> ImagePool:
    return source.pool("test")


def test_splits_are_fixed_disjoint_and_complete(source: DigitTasks) -> None:
    validation, test = source.pool("validation"), source.pool("test")
    assert len(validation.images) + len(test.images) == 1797
    for digit in range(10):
        total = len(validation.rows_of(digit)) + len(test.rows_of(digit))
        assert len(validation.rows_of(digit)) == total // 3
    # images repeat within the data set hardly ever, and never across the splits
    both = {i.tobytes() for i in validation.images} & {i.tobytes() for i in test.images}
    assert not both
    assert source.digest() == DigitTasks().digest() == DIGEST


def test_there_is_nothing_to_train_on(source: DigitTasks) -> None:
    with pytest.raises(NoSuchSplitError, match="validation, test"):
        source.pool("train")


def test_images_are_the_real_ones_enlarged(source: DigitTasks) -> None:
    real = load_digits().images
    images = np.concatenate([source.pool(s).images for s in ("validation", "test")])
    assert images.dtype == np.uint8
    assert images.shape[1:] == (28, 28)
    # the cells' centres: pixel 2 + 3 i + 1 lies in the middle of cell i
    small = images[:, 3:27:3, 3:27:3].astype(np.float64) / 255 * 16
    assert np.abs(np.sort(small.sum((1, 2))) - np.sort(real.sum((1, 2)))).max() < 4
    assert images[:, 0].max() < 60  # a margin of paper


def test_writers_own_disjoint_real_images(pool: ImagePool) -> None:
    options = DigitWriterOptions(writers=9, images_per_digit=10, strength=0.0)
    written = digit_writers(pool, options, np.random.default_rng(0))
    assert set(written.users.tolist()) == set(range(9))
    real = {image.tobytes() for image in pool.images}
    seen = [image.tobytes() for image in written.images]
    assert all(image in real for image in seen)  # strength 0 changes nothing
    assert len(set(seen)) == len(seen) == 9 * 10 * 10
    for user in range(9):
        counts = np.bincount(written.of_user(user).classes, minlength=10)
        assert counts.tolist() == [10] * 10


def test_labels_go_with_their_images(pool: ImagePool) -> None:
    options = DigitWriterOptions(writers=4, images_per_digit=5, strength=0.0)
    written = digit_writers(pool, options, np.random.default_rng(1))
    truth = {image.tobytes(): int(c) for image, c in zip(pool.images, pool.classes, strict=True)}
    got = [truth[image.tobytes()] for image in written.images]
    assert got == written.classes.tolist()


def test_a_style_persists_and_differs_between_writers(pool: ImagePool) -> None:
    """Two writers of the same real images: each treats all of his alike, and not as the other."""
    ones = pool.take(pool.rows_of(1)[:6])
    options = DigitWriterOptions(writers=2, images_per_digit=6, reuse=True)
    written = digit_writers(ones, options, np.random.default_rng(5))
    first, second = (np.sort(written.of_user(u).images.sum((1, 2)) / 255.0) for u in (0, 1))
    original = np.sort(ones.images.sum((1, 2)) / 255.0)
    ratios = np.stack([first / original, second / original])
    assert (ratios.std(axis=1) < 0.1).all()  # one writer treats all his images alike
    assert abs(ratios[0].mean() - ratios[1].mean()) > 0.05


def test_same_seed_same_writers(pool: ImagePool) -> None:
    first, again, other = (
        digit_writers(pool, DigitWriterOptions(writers=3), np.random.default_rng(s))
        for s in (2, 2, 3)
    )
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


def test_ink_stays_inside(pool: ImagePool) -> None:
    written = digit_writers(pool, DigitWriterOptions(), np.random.default_rng(3))
    inside = written.images.sum(dtype=np.int64)
    edge = np.concatenate(
        [written.images[:, [0, -1]], written.images[:, :, [0, -1]].swapaxes(1, 2)]
    )
    assert edge.sum(dtype=np.int64) < 0.01 * inside


def test_reuse_never_gives_one_writer_an_image_twice(pool: ImagePool) -> None:
    few = pool.take(np.concatenate([pool.rows_of(d)[:9] for d in range(10)]))
    options = DigitWriterOptions(writers=5, images_per_digit=6, strength=0.0, reuse=True)
    written = digit_writers(few, options, np.random.default_rng(4))
    for user in range(5):
        own = written.of_user(user).images
        assert len({image.tobytes() for image in own}) == len(own) == 60


def test_too_few_images_and_bad_options_are_refused(pool: ImagePool) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(NotEnoughImagesError):
        digit_writers(pool, DigitWriterOptions(writers=40, images_per_digit=10), rng)
    for wrong in ({"writers": 0}, {"images_per_digit": 0}, {"strength": -0.1}):
        with pytest.raises(InvalidOptionError):
            DigitWriterOptions(**wrong)  # type: ignore[arg-type]


def test_parting_a_pool_keeps_every_image_once(pool: ImagePool) -> None:
    first, second = part_pool(pool, 0.6, np.random.default_rng(0))
    assert len(first.images) + len(second.images) == len(pool.images)
    for digit in range(10):
        wanted = round(0.6 * len(pool.rows_of(digit)))
        assert len(first.rows_of(digit)) == wanted
    assert not {i.tobytes() for i in first.images} & {i.tobytes() for i in second.images}
    with pytest.raises(InvalidOptionError):
        part_pool(pool, 1.0, np.random.default_rng(0))
