"""Reads the .npz archives of real data sets, with errors that say how to get them."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from export.tasks.base import BadDataError, DataNotFoundError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from numpy.typing import NDArray

_DAMAGE = (
    EOFError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What `np.load` raises on files that are not whole, or not archives."""


def read_archive(
    data: Path | None, archive: str, *, needs: AbstractSet[str], how_to_get: str
) -> dict[str, NDArray[Any]]:
    """The arrays of `data / archive`.

    Args:
        data: The data folder; None where nobody named one.
        archive: Path inside it, `omniglot/omniglot28.npz`.
        needs: Arrays that must be there.
        how_to_get: What to do where the file is missing.

    Raises:
        DataNotFoundError: There is no such file.
        BadDataError: The file is damaged, or lacks an array.
    """
    name = archive.partition("/")[0]
    if data is None:
        msg = f"{name} needs a data folder (--data or EDGE_SDK_DATA); to make one, {how_to_get}"
        raise DataNotFoundError(msg)
    path = data / archive
    if not path.is_file():
        msg = f"{path} does not exist; {how_to_get}"
        raise DataNotFoundError(msg)
    try:
        # np.load leaves a file that it opened itself open when it fails
        with path.open("rb") as file, np.load(file, allow_pickle=False) as opened:
            content = {key: opened[key] for key in opened.files}
    except _DAMAGE as error:
        msg = f"{path} is damaged or not an .npz archive; {how_to_get}"
        raise BadDataError(msg) from error
    missing = needs - content.keys()
    if missing:
        msg = f"{path} lacks {', '.join(sorted(missing))}"
        raise BadDataError(msg)
    return content
