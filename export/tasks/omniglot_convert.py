"""Makes `omniglot/omniglot28.npz` from the two archives of github.com/brendenlake/omniglot.

Run `python -m export.tasks.omniglot_convert FOLDER DATA`, where FOLDER holds
`images_background.zip` and `images_evaluation.zip`. Needs Pillow, which matplotlib brings.
"""

from __future__ import annotations

import argparse
import io
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import MissingExtraError
from export.tasks.base import IMAGE_SIZE, BadDataError, DataNotFoundError
from export.tasks.omniglot import ARCHIVE, NUM_DRAWERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

ZIPS = ("images_background.zip", "images_evaluation.zip")

VALIDATION_ALPHABETS = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")
"""Of Vinyals et al. (NeurIPS 2016)."""

TRAIN_CHARACTERS_BEFORE_TEST = 1200
"""Their training and validation sets are the first 1,200 characters, background ones first."""

_DRAWING = re.compile(r"images_\w+/([^/]+)/character(\d+)/(\d+)_(\d+)\.png")


def convert(folder: Path, data: Path) -> Path:
    """Read both archives in `folder`, write `omniglot28.npz` under `data` and return its path.

    Raises:
        DataNotFoundError: An archive is missing.
        BadDataError: A character has not 20 drawings.
        MissingExtraError: Pillow is not installed.
    """
    names: list[str] = []
    images: list[NDArray[np.uint8]] = []
    ids: list[int] = []
    split: list[int] = []
    for part, name in enumerate(ZIPS):
        path = folder / name
        if not path.is_file():
            msg = f"{path} does not exist; get it from github.com/brendenlake/omniglot"
            raise DataNotFoundError(msg)
        for character, identity, drawings in _characters(path):
            names.append(character)
            images.append(drawings)
            ids.append(identity)
            split.append(part)
    alphabets = [name.split("/")[0] for name in names]
    alphabet_names = list(dict.fromkeys(alphabets))
    target = data / ARCHIVE
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        target,
        images=np.stack(images),
        names=np.array(names),
        alphabet=np.array([alphabet_names.index(a) for a in alphabets], np.int16),
        alphabet_names=np.array(alphabet_names),
        character=np.array([int(name[-2:]) for name in names], np.int16),
        character_id=np.array(ids, np.int16),
        split=np.array(split, np.int8),
        vinyals_split=_vinyals(alphabets),
        drawer=np.arange(NUM_DRAWERS, dtype=np.int8),
    )
    return target


def _characters(path: Path) -> list[tuple[str, int, NDArray[np.uint8]]]:
    """Name, Lake's number and the 20 drawings of each character, sorted by name."""
    found: dict[str, dict[int, NDArray[np.uint8]]] = {}
    ids: dict[str, int] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            match = _DRAWING.fullmatch(entry)
            if match is None:
                continue
            alphabet, number, identity, drawer = match.groups()
            name = f"{alphabet}/character{number}"
            ids[name] = int(identity)
            found.setdefault(name, {})[int(drawer)] = shrink(archive.read(entry))
    for name, drawings in found.items():
        if sorted(drawings) != list(range(1, NUM_DRAWERS + 1)):
            msg = f"{path}: {name} has not one drawing by each of {NUM_DRAWERS} drawers"
            raise BadDataError(msg)
    return [
        (name, ids[name], np.stack([found[name][d + 1] for d in range(NUM_DRAWERS)]))
        for name in sorted(found)
    ]


def shrink(png: bytes) -> NDArray[np.uint8]:
    """A black-on-white drawing of any size -> uint8 `[28, 28]`, ink 255."""
    try:
        from PIL import Image  # noqa: PLC0415  (an optional dependency)
    except ImportError as error:
        msg = "converting Omniglot needs Pillow; install edge-sdk[export]"
        raise MissingExtraError(msg) from error
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("L").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)
    return 255 - np.asarray(small, np.uint8)


def _vinyals(alphabets: list[str]) -> NDArray[np.int8]:
    """0: train, 1: validation, 2: test."""
    held_out = np.isin(alphabets, VALIDATION_ALPHABETS).astype(np.int8)
    test = np.arange(len(alphabets)) >= TRAIN_CHARACTERS_BEFORE_TEST
    return np.where(test, np.int8(2), held_out)


def main() -> None:
    """Convert, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="holds the two zip files")
    parser.add_argument("data", type=Path, help="the data folder to write omniglot/ into")
    arguments = parser.parse_args()
    convert(arguments.folder, arguments.data)


if __name__ == "__main__":
    main()
