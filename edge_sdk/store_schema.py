"""Opens the store's sqlite3 file: schema version 3, durable, private, and never someone else's."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge_sdk.errors import StoreDamagedError, StoreError
from edge_sdk.store_migration import migrate_1_to_2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION = 3
APPLICATION_ID = 0x45444745  # "EDGE": sqlite3 keeps it in the file's header

_SCHEMA = """
CREATE TABLE meta (
  key TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL,
  sha256 BLOB NOT NULL                  -- of key and value
) WITHOUT ROWID;
CREATE TABLE examples (
  id INTEGER PRIMARY KEY AUTOINCREMENT, -- ids only grow: order taught
  kept INTEGER NOT NULL,                -- 0: let go of, but a generation was adapted on it
  label BLOB NOT NULL,                  -- UTF-8; sealed where the store has a key
  features BLOB NOT NULL,               -- little-endian float32; sealed where the store has a key
  sha256 BLOB NOT NULL                  -- of id, label and features as they are here
);
CREATE TABLE generations (
  version INTEGER PRIMARY KEY AUTOINCREMENT, -- 0: the bundle's own starting state
  role INTEGER NOT NULL UNIQUE CHECK (role IN (0, 1)), -- 0: current; 1: the one before
  header BLOB NOT NULL,                 -- JSON: bundle, example ids, names; sealed as above
  header_sha256 BLOB NOT NULL,          -- of version and header
  data BLOB NOT NULL,                   -- the state's bytes; sealed as above
  data_sha256 BLOB NOT NULL             -- of version and data
);
"""
_SCHEMA_OF_3 = """
CREATE TABLE memory (
  name TEXT PRIMARY KEY NOT NULL,
  data BLOB NOT NULL,                   -- text of the guard's memory; sealed as above
  sha256 BLOB NOT NULL                  -- of name and data
) WITHOUT ROWID;
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,              -- number of the entry in audit.log
  line BLOB NOT NULL                    -- the whole line
);
"""


_REASONS = {
    "SQLITE_BUSY": "it is locked by another process; try again",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_CORRUPT": "it is damaged; restore the home folder from a backup, or erase()",
    "SQLITE_NOTADB": (
        "its file is not a database; restore the home folder from a backup, choose another, or "
        "erase()"
    ),
    "SQLITE_READONLY": "it is read-only",
}
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


@contextmanager
def translated() -> Iterator[None]:
    """Turn what sqlite3 raises into `StoreError`.

    Its text is left out: from a damaged file that may be anything, a label too.
    """
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        name = getattr(error, "sqlite_errorname", "SQLITE_CORRUPT")
        reason = next((why for code, why in _REASONS.items() if name.startswith(code)), "")
        msg = f"the personal store failed ({name}){': ' if reason else ''}{reason}"
        raise (StoreDamagedError if name.startswith(_DAMAGED) else StoreError)(msg) from None


def open_database(path: Path, *, busy_timeout_ms: int) -> sqlite3.Connection:
    """Open or create the database, readable by this user only.

    Raises:
        StoreDamagedError: It is damaged, or no database at all.
        StoreError: It cannot be opened, is another application's, or a newer version wrote it.
    """
    _create_private(path)
    db = sqlite3.connect(
        path, timeout=busy_timeout_ms / 1000, isolation_level=None, check_same_thread=False
    )
    # a damaged label must reach its checksum: sqlite3's own error would show it
    db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        _check_owner(db)
        _set_wal(db, busy_timeout_ms)
        for pragma in (
            "synchronous=FULL",
            "secure_delete=ON",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            "trusted_schema=OFF",
            "cell_size_check=ON",
        ):
            db.execute(f"PRAGMA {pragma}")
        _create_schema(db)
    except BaseException:
        db.close()
        raise
    return db


def _create_private(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        msg = f"the store's home folder cannot be used: {error.strerror}"
        raise StoreError(msg) from error


def _check_owner(db: sqlite3.Connection) -> None:
    """Refuse another application's database and a newer schema before anything is written."""
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if (application_id, version, tables) == (0, 0, 0):
        return  # new
    if application_id != APPLICATION_ID:
        msg = "the database in the home folder is not a personal store; choose another home"
        raise StoreError(msg)
    if not 1 <= version <= SCHEMA_VERSION:
        msg = (
            f"the personal store has schema version {version}, this reads {SCHEMA_VERSION}; "
            "install the edge-sdk that wrote it"
        )
        raise StoreError(msg)


def _set_wal(db: sqlite3.Connection, busy_timeout_ms: int) -> None:
    """Switch to the write-ahead log; sqlite3 itself does not wait where two processes do this."""
    deadline = time.monotonic() + busy_timeout_ms / 1000
    while True:
        try:
            (mode,) = db.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.005)
            continue
        if mode != "wal":
            msg = f"the home folder's file system has no write-ahead log (journal mode {mode})"
            raise StoreError(msg)
        return


def _create_schema(db: sqlite3.Connection) -> None:
    """Make the tables of a new store, or bring those of an older one up to date: all or nothing."""
    if db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()  # another process may be first
        if version == 0:
            _run(db, _SCHEMA)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        elif version == 1:
            migrate_1_to_2(db, create=lambda: _run(db, _SCHEMA))
        if version < 3:  # what is new in it is empty at first
            _run(db, _SCHEMA_OF_3)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _run(db: sqlite3.Connection, script: str) -> None:
    """Run statements inside the transaction under way, which `executescript` would commit."""
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)
