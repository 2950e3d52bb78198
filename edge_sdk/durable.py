"""What makes a file survive a power cut: all of it written to the disk, and its name too."""

from __future__ import annotations

import os


def write_durably(file: int, data: bytes) -> None:
    """Write all of `data` where a descriptor stands, wait for the disk, and close it in any case.

    Raises:
        OSError: Not all of it is on the disk.
    """
    try:
        left = memoryview(data)
        while left:  # a write may be cut short
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)


def write_new(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o600) -> None:
    """Write a file that does not exist yet, as `write_durably`.

    Raises:
        FileExistsError: It does.
        OSError: Not all of it is on the disk; a part of it may be left.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    write_durably(os.open(path, flags, mode), data)


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
