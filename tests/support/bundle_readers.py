"""The bundle readers in C and Python, side by side."""

from __future__ import annotations

import ctypes
import hashlib
import os
from typing import TYPE_CHECKING

from edge_sdk import open_bundle
from edge_sdk.errors import BadBundleError

if TYPE_CHECKING:
    from pathlib import Path


class CReader:
    """`edge_bundle_open` of the installed library."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(os.fspath(library))
        for name in ("edge_last_error", "edge_bundle_digest", "edge_bundle_name"):
            getattr(self._library, name).restype = ctypes.c_char_p
        for name in ("edge_bundle_digest", "edge_bundle_name", "edge_bundle_close"):
            getattr(self._library, name).argtypes = [ctypes.c_void_p]

    def open(self, folder: Path) -> str:
        """The digest, or `BadBundleError` with the library's message."""
        handle = ctypes.c_void_p()
        status = self._library.edge_bundle_open(os.fsencode(folder), ctypes.byref(handle))
        if status != 0:
            assert status == 8, status
            assert not handle.value
            raise BadBundleError(self._library.edge_last_error().decode())
        digest: bytes = self._library.edge_bundle_digest(handle)
        self._library.edge_bundle_close(handle)
        return digest.decode()


def verdicts(c_reader: CReader, folder: Path) -> tuple[str | None, str | None]:
    """What Python and C++ say against a folder; None where one accepts it."""
    messages: list[str | None] = []
    for read in (lambda: open_bundle(folder).digest, lambda: c_reader.open(folder)):
        try:
            messages.append(read() and None)
        except BadBundleError as error:
            messages.append(str(error))
    return messages[0], messages[1]


def check_same_verdict(c_reader: CReader, folder: Path, what: object) -> bool:
    """Whether both accept; where both refuse, they must blame the same file."""
    python, cpp = verdicts(c_reader, folder)
    assert (python is None) == (cpp is None), f"{what}: {python!r} but {cpp!r}"
    if python is not None and cpp is not None:
        assert python.split(":")[0].split()[0] == cpp.split(":")[0].split()[0], (python, cpp)
    return python is None


def forge(folder: Path, raw: bytes) -> None:
    """Replace the manifest and make its digest right: an attacker who can write both files."""
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_text(hashlib.sha256(raw).hexdigest() + "\n")
