"""Omniglot's reader and converter, on a small imitation of the data."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk.errors import InvalidOptionError
from export.tasks import omniglot_convert
from export.tasks.base import SPLITS, BadDataError, DataNotFoundError, NoSuchSplitError
from export.tasks.omniglot import OmniglotTasks
from export.tasks.registry import open_tasks

if TYPE_CHECKING:
    from pathlib import Path

CHARACTERS = 24


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """24 characters of 8 alphabets: the first 18 are background ones."""
    folder = tmp_path / "omniglot"
    folder.mkdir()
    np.savez(folder / "omniglot28.npz", **imitation())
    return tmp_path


def imitation() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    number = np.arange(CHARACTERS)
    return {
        "images": rng.integers(0, 256, (CHARACTERS, 20, 28, 28), dtype=np.uint8),
        "names": np.array([f"A{n // 3}/character{n % 3 + 1:02d}" for n in number]),
        "alphabet": (number // 3).astype(np.int16),
        "split": (number >= 18).astype(np.int8),
        "vinyals_split": np.where(number < 12, 0, np.where(number < 16, 1, 2)).astype(np.int8),
    }


def test_turned_characters_are_classes_of_their_own(data: Path) -> None:
    pool = OmniglotTasks(data).pool("validation")
    assert len(pool.class_names) == len(set(pool.class_names)) == 4 * 4
    assert pool.images.shape == (4 * 4 * 20, 28, 28)
    for turn in range(4):
        cls = pool.class_names.index(f"A4/character02/rot{90 * turn:03d}")
        want = np.rot90(imitation()["images"][13], turn, axes=(1, 2))
        np.testing.assert_array_equal(pool.images[pool.rows_of(cls)], want)


def test_a_group_is_one_alphabet_turned_one_way(data: Path) -> None:
    pool = OmniglotTasks(data).pool("train")
    assert pool.groups is not None
    assert len(np.unique(pool.groups)) == 4 * 4
    for group in np.unique(pool.groups):
        names = {pool.class_names[c] for c in pool.classes[pool.groups == group]}
        assert len({(name.split("/")[0], name.split("/")[2]) for name in names}) == 1
        assert len(names) == 3


def test_a_user_is_one_drawer_of_one_alphabet(data: Path) -> None:
    pool = OmniglotTasks(data).pool("train")
    assert len(np.unique(pool.users)) == 4 * 20
    user = pool.of_user(int(pool.users[0]))
    alphabets = {pool.class_names[c].split("/")[0] for c in user.classes}
    assert alphabets == {"A0"}
    assert len(user.images) == 3 * 4  # three characters, four turns each


@pytest.mark.parametrize("split", ["vinyals", "lake"])
def test_splits_share_no_character(data: Path, split: str) -> None:
    source = OmniglotTasks(data, split=split)  # type: ignore[arg-type]
    characters = [{n.rsplit("/", 1)[0] for n in source.pool(s).class_names} for s in SPLITS]
    assert all(characters)
    assert sum(map(len, characters)) == len(set().union(*characters)) == CHARACTERS
    if split == "lake":
        alphabets = [{name.split("/")[0] for name in part} for part in characters]
        assert sum(map(len, alphabets)) == len(set().union(*alphabets))
        assert alphabets[2] == {"A6", "A7"}


def test_digest_follows_the_data(data: Path) -> None:
    before = OmniglotTasks(data).digest()
    assert before == OmniglotTasks(data).digest()
    changed = imitation()
    changed["images"][3, 4, 5, 6] ^= 1
    np.savez(data / "omniglot" / "omniglot28.npz", **changed)
    assert OmniglotTasks(data).digest() != before


@pytest.mark.parametrize("where", [None, "elsewhere"])
def test_missing_data_says_how_to_get_it(tmp_path: Path, where: str | None) -> None:
    with pytest.raises(DataNotFoundError, match=r"images_background\.zip.*omniglot_convert"):
        open_tasks("omniglot", data=None if where is None else tmp_path / where)


def test_damaged_data_is_refused(data: Path) -> None:
    path = data / "omniglot" / "omniglot28.npz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadDataError, match="damaged"):
        OmniglotTasks(data)
    part = imitation()
    del part["alphabet"]
    np.savez(path, **part)
    with pytest.raises(BadDataError, match="alphabet"):
        OmniglotTasks(data)
    np.savez(path, **{**imitation(), "images": np.zeros((CHARACTERS, 20, 14, 14), np.uint8)})
    with pytest.raises(BadDataError, match="28, 28"):
        OmniglotTasks(data)


@pytest.mark.parametrize("change", ["pixels", "method", "array"])
def test_damage_of_any_kind_is_refused(data: Path, change: str) -> None:
    path = data / "omniglot" / "omniglot28.npz"
    np.savez_compressed(path, **imitation())
    content = bytearray(path.read_bytes())
    if change == "pixels":
        content[200:240] = b"\xff" * 40  # inside a compressed stream
    elif change == "method":
        content[content.index(b"PK\x01\x02") + 10] = 99  # of the first entry in the directory
    path.write_bytes(content)
    if change == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    with pytest.raises(BadDataError, match="damaged"):
        OmniglotTasks(data)


def test_unknown_names_are_refused(data: Path) -> None:
    with pytest.raises(NoSuchSplitError):
        OmniglotTasks(data).pool("background")
    with pytest.raises(InvalidOptionError):
        OmniglotTasks(data, split="other")  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError):
        open_tasks("letters")


def _archives(folder: Path, *, leave_out: str = "") -> None:
    image_module = pytest.importorskip("PIL.Image")
    for part, alphabet in (("background", "Armenian"), ("evaluation", "Zulu")):
        with zipfile.ZipFile(folder / f"images_{part}.zip", "w") as archive:
            archive.writestr(f"images_{part}/", "")
            for drawer in range(1, 21):
                name = f"images_{part}/{alphabet}/character07/0012_{drawer:02d}.png"
                if name == leave_out:
                    continue
                picture = image_module.new("1", (105, 105), 1)
                for i in range(30, 76):
                    for thick in range(4):
                        picture.putpixel((40 + thick, i), 0)
                stream = io.BytesIO()
                picture.save(stream, "png")
                archive.writestr(name, stream.getvalue())


def test_the_archives_are_converted(tmp_path: Path) -> None:
    _archives(tmp_path)
    path = omniglot_convert.convert(tmp_path, tmp_path / "data")
    with np.load(path) as content:
        assert content["names"].tolist() == ["Armenian/character07", "Zulu/character07"]
        assert content["split"].tolist() == [0, 1]
        assert content["vinyals_split"].tolist() == [1, 0]
        assert content["character_id"].tolist() == [12, 12]
        image = content["images"][0, 0]
    assert image.shape == (28, 28)
    assert image[14, 11] > 200  # ink is bright
    assert image[14, 20] == 0
    assert len(OmniglotTasks(tmp_path / "data", rotations=False).pool("train").images) == 20


def test_a_missing_archive_or_drawing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"images_background\.zip"):
        omniglot_convert.convert(tmp_path, tmp_path)
    _archives(tmp_path, leave_out="images_evaluation/Zulu/character07/0012_05.png")
    with pytest.raises(BadDataError, match="Zulu/character07"):
        omniglot_convert.convert(tmp_path, tmp_path)
