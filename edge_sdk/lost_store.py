"""A store that cannot be opened: what stands in for it, and how its files are destroyed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sdk.errors import StoreDamagedError, StoreError
from edge_sdk.store import FILE_NAME, Store
from edge_sdk.store_generations import Generations
from edge_sdk.store_notes import Memory, Outbox
from edge_sdk.store_rows import Examples

if TYPE_CHECKING:
    import sqlite3


class LostStore(Store):
    """Stands for a database that cannot be opened: every use raises what opening it raised."""

    def __init__(self, error: StoreDamagedError, *, encrypted: bool) -> None:
        self._message = str(error)
        self._db = None
        self._busy_timeout_ms = 0
        self._sealer = None
        self._encrypted = encrypted
        self.examples = Examples(self)
        self.generations = Generations(self)
        self.memory = Memory(self)
        self.outbox = Outbox(self)

    @property
    def encrypted(self) -> bool:
        """Whether a key was given."""
        return self._encrypted

    def database(self) -> sqlite3.Connection:
        """Raise what opening raised.

        Raises:
            StoreDamagedError: Always.
        """
        raise StoreDamagedError(self._message)


def destroy_files(home: str | os.PathLike[str]) -> None:
    """Overwrite with zeros and remove the files of a store that cannot be opened.

    No process may have it open.

    Raises:
        StoreError: They cannot be removed.
    """
    for suffix in ("", "-wal", "-shm"):
        path = Path(home) / f"{FILE_NAME}{suffix}"
        try:
            if path.is_symlink() or not path.exists():
                path.unlink(missing_ok=True)
                continue
            with path.open("r+b", buffering=0) as file:
                file.write(bytes(path.stat().st_size))
                os.fsync(file.fileno())
            path.unlink()
        except OSError as error:
            msg = f"the store's files cannot be removed: {error.strerror}"
            raise StoreError(msg) from None
