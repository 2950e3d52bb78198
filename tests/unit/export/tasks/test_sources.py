"""What every task source owes its users, whatever its data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from export.tasks.base import SPLITS, NoSuchSplitError, TaskSource, pool_digest
from export.tasks.digits import DigitTasks
from export.tasks.glyphs import GlyphOptions, GlyphTasks
from export.tasks.omniglot import OmniglotTasks
from export.tasks.registry import SOURCES, open_tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GLYPHS = GlyphOptions(train_classes=6, held_out_classes=3, writers=5, writers_per_class=4)


def omniglot(folder: Path) -> OmniglotTasks:
    rng = np.random.default_rng(0)
    (folder / "omniglot").mkdir(exist_ok=True)
    np.savez(
        folder / "omniglot" / "omniglot28.npz",
        images=rng.integers(0, 256, (9, 20, 28, 28), dtype=np.uint8),
        names=np.array([f"A/character{n:02d}" for n in range(9)]),
        alphabet=np.arange(9, dtype=np.int16),
        split=np.array([0] * 6 + [1] * 3, np.int8),
        vinyals_split=np.array([0, 1, 2] * 3, np.int8),
    )
    return OmniglotTasks(folder)


MAKERS: dict[str, Callable[[Path], TaskSource]] = {
    "glyphs": lambda _folder: GlyphTasks(seed=0, options=GLYPHS),
    "digits": lambda _folder: DigitTasks(),
    "omniglot": omniglot,
}


@pytest.fixture(params=sorted(MAKERS))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> TaskSource:
    return MAKERS[request.param](tmp_path)


def splits_of(source: TaskSource) -> list[str]:
    return [s for s in SPLITS if source.name != "digits" or s != "train"]


def test_pools_are_well_formed(source: TaskSource) -> None:
    for split in splits_of(source):
        pool = source.pool(split)
        n = len(pool.images)
        assert pool.images.dtype == np.uint8
        assert pool.images.shape == (n, 28, 28)
        assert pool.classes.dtype == pool.users.dtype == np.int64
        assert pool.classes.shape == pool.users.shape == (n,)
        assert np.unique(pool.classes).tolist() == list(range(len(pool.class_names)))
        assert len(set(pool.class_names)) == len(pool.class_names)
        rows = np.concatenate([pool.rows_of(c) for c in range(len(pool.class_names))])
        assert np.sort(rows).tolist() == list(range(n))
        user = int(pool.users[-1])
        assert set(pool.of_user(user).users.tolist()) == {user}


def test_asking_twice_gives_the_same(source: TaskSource) -> None:
    for split in splits_of(source):
        np.testing.assert_array_equal(source.pool(split).images, source.pool(split).images)
    assert source.digest() == source.digest()
    assert len(source.digest()) == 64
    assert set(source.digest()) <= set("0123456789abcdef")


def test_no_image_of_one_split_is_in_another(source: TaskSource) -> None:
    seen: set[bytes] = set()
    for split in splits_of(source):
        images = {image.tobytes() for image in source.pool(split).images}
        assert not images & seen
        seen |= images


def test_an_unknown_split_is_refused_by_name(source: TaskSource) -> None:
    with pytest.raises(NoSuchSplitError, match=r"'all'.*test"):
        source.pool("all")


def test_the_registry_opens_every_source(tmp_path: Path) -> None:
    omniglot(tmp_path)
    for name in set(SOURCES) - {"unipen"}:  # see test_mixed_and_values.py
        assert open_tasks(name, data=tmp_path, seed=1).name == name


@pytest.mark.parametrize("part", ["images", "classes", "users"])
def test_the_digest_covers_every_part_of_a_pool(part: str) -> None:
    pool = GlyphTasks(seed=0, options=GLYPHS).pool("test")
    before = pool_digest([("test", pool)])
    getattr(pool, part).reshape(-1)[0] ^= 1
    assert pool_digest([("test", pool)]) != before
