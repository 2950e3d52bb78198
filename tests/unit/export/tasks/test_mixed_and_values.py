"""Episodes of many ways and shots, of one alphabet, of functions, and by writer."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from export.tasks.base import (
    BadDataError,
    DataNotFoundError,
    ImagePool,
    NoSuchSplitError,
    NotEnoughImagesError,
)
from export.tasks.lake import LakeSampler
from export.tasks.registry import open_any, open_tasks
from export.tasks.sampler import EpisodeOptions, EpisodeSampler
from export.tasks.sinusoids import SinusoidOptions, SinusoidPool, SinusoidTasks
from export.tasks.unipen import UnipenTasks
from tests.support.tasks import BlockTasks

DATA = Path(os.environ.get("EDGE_SDK_DATA", "/nonexistent"))


def pool() -> ImagePool:
    return BlockTasks(classes=12, images_per_class=8).pool("train")


def test_ways_and_shots_vary_from_batch_to_batch() -> None:
    options = EpisodeOptions(ways=3, max_ways=6, shots=1, max_shots=4, queries=2, draws=2)
    sampler, rng = EpisodeSampler(pool(), options), np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        batch = sampler.draw(rng)
        shots = batch.support.shape[1] // batch.ways
        seen.add((batch.ways, shots))
        assert batch.images_per_class == shots + 2
        assert batch.query_y.shape == (2, batch.ways * 2)
        assert np.bincount(batch.support_y[0]).tolist() == [shots] * batch.ways
    assert seen == {(ways, shots) for ways in range(3, 7) for shots in range(1, 5)}


def test_a_pool_must_suffice_for_the_largest_batch() -> None:
    EpisodeSampler(pool(), EpisodeOptions(ways=12, shots=4, queries=4))
    with pytest.raises(NotEnoughImagesError, match="13 ways"):
        EpisodeSampler(pool(), EpisodeOptions(ways=2, max_ways=13, queries=4))
    with pytest.raises(NotEnoughImagesError, match="9 images"):
        EpisodeSampler(pool(), EpisodeOptions(ways=2, max_shots=5, queries=4))


def test_a_symmetric_batch_may_have_any_ways_but_one_shot() -> None:
    options = EpisodeOptions(ways=2, max_ways=4, queries=1, symmetric=True)
    sampler, rng = EpisodeSampler(pool(), options), np.random.default_rng(0)
    assert {sampler.draw(rng).ways for _ in range(40)} == {2, 3, 4}
    with pytest.raises(InvalidOptionError, match="one-shot, got shots=3"):
        EpisodeOptions(symmetric=True, max_shots=3)
    with pytest.raises(InvalidOptionError, match="max_ways must be >= ways"):
        EpisodeOptions(ways=5, max_ways=4)


def test_images_may_have_any_size_and_colours() -> None:
    rng = np.random.default_rng(0)
    colour = ImagePool(
        images=rng.integers(0, 256, (12, 3, 8, 10), dtype=np.uint8),
        classes=np.arange(12) % 3,
        users=np.zeros(12, np.int64),
        class_names=["a", "b", "c"],
    )
    assert colour.input_shape == (3, 8, 10)
    batch = EpisodeSampler(colour, EpisodeOptions(ways=3, queries=2)).draw(rng)
    assert batch.images.shape == (9, 3, 8, 10)
    assert 0.9 < batch.images.max() <= 1


def test_sinusoids_are_those_of_the_paper() -> None:
    waves = SinusoidPool(SinusoidOptions())
    x, y = waves.draw(500, 40, np.random.default_rng(0))
    assert x.shape == y.shape == (500, 40, 1)
    assert x.dtype == y.dtype == np.float32
    assert -5 <= x.min() < -4.99
    assert 4.99 < x.max() <= 5
    # each is a * sin(x) + b * cos(x): a least-squares fit leaves nothing
    amplitudes, phases = [], []
    for points, values in zip(x[..., 0], y[..., 0], strict=True):
        basis = np.stack([np.sin(points), -np.cos(points)], axis=1)
        (a, b), *_ = np.linalg.lstsq(basis, values, rcond=None)
        np.testing.assert_allclose(basis @ [a, b], values, atol=1e-4)
        amplitudes.append(np.hypot(a, b))
        phases.append(np.arctan2(b, a))
    assert 0.1 <= min(amplitudes) < 0.2
    assert 4.9 < max(amplitudes) <= 5.0001
    assert -1e-3 <= min(phases) < 0.05
    assert 3.09 < max(phases) <= np.pi + 1e-3


def test_a_batch_of_functions() -> None:
    source = open_any("sinusoids")
    options = EpisodeOptions(shots=2, max_shots=5, queries=7, draws=3)
    batch = EpisodeSampler(source.pool("train"), options).draw(np.random.default_rng(1))
    shots = batch.support.shape[1]
    assert 2 <= shots <= 5
    assert batch.ways == 1
    assert batch.images.shape == (3 * (shots + 7), 1)
    assert batch.support_y.shape == (3, shots, 1)
    assert batch.query_y.shape == (3, 7, 1)
    assert not set(batch.support.ravel()) & set(batch.query.ravel())
    with pytest.raises(NoSuchSplitError):
        source.pool("exam")
    assert source.digest() != SinusoidTasks(SinusoidOptions(noise=0.1)).digest()
    with pytest.raises(InvalidOptionError, match="amplitude must be two finite numbers"):
        SinusoidOptions(amplitude=(2.0, 1.0))


def alphabets(users: int = 4) -> ImagePool:
    """Two alphabets of 5 and 3 characters by drawers of their own; a pixel tells the row."""
    classes = np.repeat(np.arange(8), users)
    group = (classes >= 5).astype(np.int64)
    images = np.zeros((8 * users, 4, 4), np.uint8)
    images[:, 0, 0] = np.arange(8 * users)
    return ImagePool(
        images=images,
        classes=classes,
        users=np.tile(np.arange(users), 8) + users * group,
        class_names=list("abcdefgh"),
        groups=group,
    )


def test_episodes_within_groups_take_one_alphabet() -> None:
    drawings = alphabets()
    options = EpisodeOptions(ways=3, shots=1, queries=2, draws=4, within_group=True)
    sampler, rng = EpisodeSampler(drawings, options), np.random.default_rng(0)
    assert drawings.groups is not None
    seen = set()
    for _ in range(10):
        batch = sampler.draw(rng)
        groups = drawings.groups[np.rint(batch.images[:, 0, 0, 0] * 255).astype(int)].reshape(4, -1)
        assert (groups == groups[:, :1]).all()
        seen |= set(groups[:, 0])
    assert seen == {0, 1}
    larger = EpisodeSampler(drawings, replace(options, ways=4))  # one alphabet has three characters
    assert set(drawings.groups[larger.draw(rng).pool_rows]) == {0}
    with pytest.raises(NotEnoughImagesError, match="classes of any one group"):
        EpisodeSampler(drawings, replace(options, ways=6))
    with pytest.raises(InvalidOptionError, match="this source has none"):
        EpisodeSampler(replace(drawings, groups=None), options)
    with pytest.raises(InvalidOptionError, match="leave per_user or within_group out"):
        replace(options, per_user=True)


def test_lake_draws_one_alphabet_and_two_drawers() -> None:
    drawings = alphabets()
    sampler, rng = LakeSampler(drawings, ways=3), np.random.default_rng(0)
    groups = set()
    for _ in range(60):
        batch = sampler.draw(rng)
        rows = np.rint(batch.images[:, 0, 0, 0] * 255).astype(int)
        support, query = rows[batch.support[0]], rows[batch.query[0]]
        assert len(set(drawings.users[support])) == len(set(drawings.users[query])) == 1
        assert drawings.users[support[0]] != drawings.users[query[0]]
        assert (drawings.classes[support] == drawings.classes[query]).all()
        assert len(set(drawings.classes[support])) == 3
        assert drawings.groups is not None
        assert len(set(drawings.groups[rows])) == 1
        groups.add(drawings.groups[rows[0]])
    assert groups == {0, 1}
    with pytest.raises(NotEnoughImagesError, match="6 classes"):
        LakeSampler(drawings, ways=6)
    with pytest.raises(NotEnoughImagesError, match="two users"):
        LakeSampler(alphabets(users=1), ways=3)
    with pytest.raises(InvalidOptionError, match="use omniglot-lake"):
        LakeSampler(pool(), ways=3)


def fake_unipen(folder: Path, **changes: object) -> Path:
    rng = np.random.default_rng(0)
    count = 400
    content = {
        "images": rng.integers(0, 256, (count, 28, 28), dtype=np.uint8),
        "label": np.arange(count, dtype=np.int8) % 62,
        "classes": np.array(list("0123456789") + [chr(c) for c in range(65, 117)]),
        "writer": np.arange(count, dtype=np.int16) % 20,
        "writer_donor": np.arange(20, dtype=np.int8) % 3,
    }
    content.update(changes)  # type: ignore[arg-type]
    (folder / "unipen").mkdir(exist_ok=True)
    kept = {name: value for name, value in content.items() if value is not None}
    np.savez(folder / "unipen" / "unipen_chars.npz", **kept)
    return folder


def test_unipen_splits_by_writer(tmp_path: Path) -> None:
    source = open_tasks("unipen", data=fake_unipen(tmp_path))
    pools = {split: source.pool(split) for split in ("train", "validation", "test")}
    writers = {split: set(found.users.tolist()) for split, found in pools.items()}
    assert {split: len(found) for split, found in writers.items()} == {
        "train": 12, "validation": 3, "test": 5,
    }  # fmt: skip
    assert len(set.union(*writers.values())) == 20
    assert sum(len(found.images) for found in pools.values()) == 400
    assert pools["test"].class_names[10] == "A"
    assert source.digest() == UnipenTasks(tmp_path).digest()
    with pytest.raises(NoSuchSplitError):
        source.pool("exam")


@pytest.mark.parametrize(
    "changes",
    [
        {"writer": None},
        {"images": np.zeros((400, 20, 20), np.uint8)},
        {"label": np.full(400, 99, np.int8)},
        {"writer": np.full(400, 20, np.int16)},
    ],
)
def test_bad_unipen_files_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(BadDataError, match=r"unipen_chars\.npz"):
        UnipenTasks(fake_unipen(tmp_path, **changes))


def test_missing_unipen_says_how_to_get_it(tmp_path: Path) -> None:
    for where in (None, tmp_path):
        with pytest.raises(DataNotFoundError, match="Zenodo"):
            UnipenTasks(where)


@pytest.mark.skipif(not (DATA / "unipen").is_dir(), reason="EDGE_SDK_DATA holds no unipen")
def test_real_unipen() -> None:
    source = UnipenTasks(DATA)
    counts = [len(source.pool(split).images) for split in ("train", "validation", "test")]
    assert sum(counts) == 38_418
    assert [len(np.unique(source.pool(s).users)) for s in ("train", "test")] == [115, 48]
