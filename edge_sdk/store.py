"""One user's examples and generations of the state in sqlite3: a change is one transaction.

It stores, verifies and seals; what a state means is the personalizer's business. The rows are read
and written in `store_rows` and `store_generations`.
"""

from __future__ import annotations

import json
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk.background import pause
from edge_sdk.errors import StoreDamagedError, StoreError, WrongKeyError
from edge_sdk.paths import as_path
from edge_sdk.sealing import AesGcmSealer, PlainSealer, Sealer, new_data_key, unwrap_data_key
from edge_sdk.store_codec import digest
from edge_sdk.store_generations import Generations
from edge_sdk.store_notes import Memory, Outbox
from edge_sdk.store_rows import Examples
from edge_sdk.store_schema import open_database, translated

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Iterator

    from edge_sdk.keys import KeyStore

FILE_NAME = "personal.db"

_CIPHER = "aes-256-gcm"
_PLAIN = "none"
_ERASING = "erasing"


@dataclass(frozen=True, slots=True)
class Binding:
    """What a store's features were made with; they are valid only there."""

    embed_identity: str
    feature_shape: tuple[int, ...]


class Store:
    """The database of one home folder. Not thread-safe: its owner holds a lock.

    Every method but `close`, `change_count`, `scrub` and `finish_erase` must run inside
    `transaction()` or `snapshot()`.

    Attributes:
        examples: The kept examples, and those let go of that a generation still rests on.
        generations: The current state and the one before.
        memory: What the guard remembers.
        outbox: Lines of the audit log that may not be in its file yet.

    Args:
        home: The folder; made if absent.
        keys: Where the user's key is; None for a store that is not encrypted. A store without
            encryption is encrypted in place when it is first opened with one.
        busy_timeout_ms: How long to wait for another process's change.

    Raises:
        WrongKeyError: It is encrypted with another key, or no key was given.
        StoreDamagedError: Everywhere, when what it holds is damaged.
        StoreError: Everywhere, when sqlite3 fails. Messages name ids and never labels or features.
            After a failure the database is what it was before.
    """

    def __init__(
        self,
        home: str | os.PathLike[str],
        *,
        keys: KeyStore | None = None,
        busy_timeout_ms: int = 10_000,
    ) -> None:
        self._keys, self._busy_timeout_ms = keys, busy_timeout_ms
        self._sealer: Sealer | None = None
        self._sealed_as: tuple[str | None, str | None] = (None, None)
        self.examples = Examples(self)
        self.generations = Generations(self)
        self.memory = Memory(self)
        self.outbox = Outbox(self)
        with translated():
            self._db: sqlite3.Connection | None = open_database(
                as_path(home, name="home") / FILE_NAME, busy_timeout_ms=busy_timeout_ms
            )
        try:
            self.finish_erase()
            self._encrypt_in_place()
            self.scrub()  # a process may have died between forgetting and scrubbing
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database; further calls do nothing."""
        db, self._db = self._db, None
        if db is not None:
            with translated():
                db.close()

    @property
    def encrypted(self) -> bool:
        """Whether what is personal is unreadable without the key."""
        return self._sealer.encrypts if self._sealer is not None else self._keys is not None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Read and write with no other writer; commits at the end, rolls back on any exception."""
        with self._scope("BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one consistent version."""
        with self._scope("BEGIN DEFERRED"):
            yield

    def change_count(self) -> int:
        """A number that changes when another connection has committed; needs no transaction."""
        with translated():
            (count,) = self.database().execute("PRAGMA data_version").fetchone()
        return int(count)

    def binding(self) -> Binding | None:
        """What the features were made with; None in a new store."""
        identity, shape = self.meta("embed_identity"), self.meta("feature_shape")
        if identity is None or shape is None:
            return None
        return Binding(identity, tuple(json.loads(shape)))

    def bind(self, binding: Binding) -> None:
        """Set what features are made with from now on, in a store without examples.

        Raises:
            KeyStoreError, MissingExtraError: It is to be encrypted and cannot be.
        """
        if self._sealer is None:
            self._begin_sealing()
        self.set_meta("embed_identity", binding.embed_identity)
        self.set_meta("feature_shape", json.dumps(list(binding.feature_shape)))
        self._clear()

    def erase(self) -> None:
        """Delete all but the outbox, the data key too; `scrub` and `finish_erase` must follow."""
        self._clear()
        self.database().execute("DELETE FROM meta")
        if self._keys is not None:
            self.set_meta(_ERASING, "1")
        self._sealer, self._sealed_as = None, (None, None)

    def finish_erase(self) -> None:
        """Destroy the user's key after `erase`, also one that a crash interrupted.

        Raises:
            KeyStoreError: The key cannot be destroyed; the next opening tries again.
        """
        with translated(), self._atomic("BEGIN IMMEDIATE"):
            self._destroy_old_key()

    def scrub(self) -> bool:
        """Make deleted bytes leave the write-ahead log, and so the files; needs no transaction.

        (In the database file itself `rewrite` and `secure_delete` have erased them.)

        Returns:
            False where another process was reading for longer than the busy timeout: to be called
            again. The next opening of the store scrubs in any case.
        """
        deadline = time.monotonic() + self._busy_timeout_ms / 1000
        while True:
            with translated():
                (busy, _, _) = self.database().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy or time.monotonic() >= deadline:
                return not busy
            time.sleep(0.005)  # sqlite3 itself does not wait for another process that does this

    # --- for the tables ------------------------------------------------------------------------

    def database(self) -> sqlite3.Connection:
        """The open connection.

        Raises:
            StoreError: The store is closed.
        """
        pause()  # each statement starts here
        if self._db is None:
            msg = "the store is closed; open a new Personalizer on its home"
            raise StoreError(msg)
        return self._db

    def sealer(self) -> Sealer:
        """What seals personal bytes.

        Raises:
            StoreDamagedError: The store is not bound yet, though it has rows.
        """
        if self._sealer is None:
            raise _damaged_meta()
        return self._sealer

    def meta(self, key: str) -> str | None:
        """One value of the meta table; None in a store that is not bound.

        Raises:
            StoreDamagedError: It is damaged, or missing though there are others.
        """
        row = (
            self.database()
            .execute("SELECT value, sha256 FROM meta WHERE key = ?", (key,))
            .fetchone()
        )
        if row is None:
            (num_rows,) = (
                self.database()
                .execute("SELECT count(*) FROM meta WHERE key <> ?", (_ERASING,))
                .fetchone()
            )
            if num_rows and key != _ERASING:  # bind() writes all of them at once
                raise _damaged_meta()
            return None
        value, sha256 = row
        if not isinstance(value, str) or sha256 != digest(key, value):
            raise _damaged_meta()
        return value

    def set_meta(self, key: str, value: str) -> None:
        """Set one value of the meta table."""
        self.database().execute(
            "INSERT OR REPLACE INTO meta (key, value, sha256) VALUES (?, ?, ?)",
            (key, value, digest(key, value)),
        )

    # --- sealing -------------------------------------------------------------------------------

    def _begin_sealing(self) -> None:
        """Choose how a new store is sealed: with a new data key where the user has a key."""
        self._destroy_old_key()
        store_id = secrets.token_hex(16)
        self.set_meta("store_id", store_id)
        if self._keys is None:
            self._sealer, sealed = PlainSealer(), _PLAIN
        else:
            self._sealer, wrapped = new_data_key(self._keys.create(), store_id)
            sealed = f"{_CIPHER} {wrapped.hex()}"
        self.set_meta("sealed", sealed)
        self._sealed_as = (store_id, sealed)

    def _destroy_old_key(self) -> None:
        """The end of an `erase`: the key must go before a new one is made, or the new one would."""
        if self._keys is not None and self.meta(_ERASING) is not None:
            self._keys.delete()
            self.database().execute("DELETE FROM meta WHERE key = ?", (_ERASING,))

    def _read_sealing(self) -> None:
        """Notice how the store is sealed; another process may have erased and bound it anew.

        Raises:
            WrongKeyError: With another key, or no key was given.
        """
        found = self.meta("store_id"), self.meta("sealed")
        if found == self._sealed_as:
            return
        store_id, sealed = found
        if store_id is None or sealed is None:
            self._sealer = None
        elif sealed == _PLAIN:
            self._sealer = PlainSealer()
        else:
            self._sealer = self._unwrap(sealed, store_id)
        self._sealed_as = found

    def _unwrap(self, sealed: str, store_id: str) -> AesGcmSealer:
        cipher, _, wrapped = sealed.partition(" ")
        if cipher != _CIPHER:
            msg = "the personal store is encrypted in a way that only a newer edge-sdk knows"
            raise StoreError(msg)
        key = None if self._keys is None else self._keys.load()
        if key is None:
            msg = "the personal store is encrypted and its key is not there; open it with key="
            raise WrongKeyError(msg)
        return unwrap_data_key(key, bytes.fromhex(wrapped), store_id)

    def _encrypt_in_place(self) -> None:
        """Seal a store that was not encrypted, in one transaction, now that there is a key."""
        if self._keys is None:
            return
        with self.snapshot():
            if not isinstance(self._sealer, PlainSealer):
                return
        with self.transaction():
            before = self._sealer
            if isinstance(before, PlainSealer):
                self._begin_sealing()
                self.examples.seal_again(before)
                self.generations.seal_again(before)
                self.memory.seal_again(before)

    def _clear(self) -> None:
        self.examples.clear()
        self.generations.clear()
        self.memory.clear()

    @contextmanager
    def _scope(self, begin: str) -> Iterator[None]:
        with translated(), self._atomic(begin):
            self._read_sealing()
            before = self._sealer, self._sealed_as
            try:
                yield
            except BaseException:
                self._sealer, self._sealed_as = before
                raise

    @contextmanager
    def _atomic(self, begin: str) -> Iterator[None]:
        db = self.database()
        db.execute(begin)
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # a full disk may have rolled back already
                db.execute("ROLLBACK")
            raise


def _damaged_meta() -> StoreDamagedError:
    return StoreDamagedError(
        "the store's meta table is damaged; restore the home folder from a backup, or erase()"
    )
