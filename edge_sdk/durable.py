"""What makes a rename or a new file survive a power cut: its folder written to the disk too."""

from __future__ import annotations

import os


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Wait until the names in `folder` are on the disk.

    Raises:
        OSError: The folder cannot be opened, or the disk failed.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
