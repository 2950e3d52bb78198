"""One user's examples and adapted state in sqlite3: a change is one transaction, whole or absent.

It stores and verifies; what a state means is the personalizer's business.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.errors import StoreError
from edge_sdk.store_schema import open_database, translated

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Iterable, Iterator

    from edge_sdk.arrays import Float32Array

FILE_NAME = "personal.db"


@dataclass(frozen=True, slots=True)
class Example:
    """One kept example: its id (ids only grow) and the app's label."""

    id: int
    label: str


@dataclass(frozen=True, slots=True)
class StoredState:
    """An adapted state as stored.

    Attributes:
        bundle_digest: The bundle that it was adapted with.
        examples_digest: What it was adapted on, from `Store.examples_digest`.
        names: What its first slots mean, in slot order.
        data: The bytes of the state.
    """

    bundle_digest: str
    examples_digest: str
    names: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Binding:
    """What a store's features were made with; they are valid only there."""

    embed_identity: str
    feature_shape: tuple[int, ...]


class Store:
    """The database of one home folder. Not thread-safe: its owner holds a lock.

    Every method but `close` must run inside `transaction()` or `snapshot()`.

    Raises:
        StoreError: Everywhere, when sqlite3 fails or what it holds is damaged. Messages name ids
            and never labels or features. After a failure the database is what it was before.
    """

    def __init__(self, home: str | os.PathLike[str], *, busy_timeout_ms: int = 10_000) -> None:
        self._path = Path(home) / FILE_NAME
        self._busy_timeout_ms = busy_timeout_ms
        with translated():
            self._db: sqlite3.Connection | None = open_database(
                self._path, busy_timeout_ms=busy_timeout_ms
            )
        try:
            self.scrub()  # a process may have died between forgetting and scrubbing
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Close the database; further calls do nothing."""
        db, self._db = self._db, None
        if db is not None:
            with translated():
                db.close()

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
            (count,) = self._open_db().execute("PRAGMA data_version").fetchone()
        return int(count)

    def binding(self) -> Binding | None:
        """What the features were made with; None in a new store."""
        identity, shape = self._meta("embed_identity"), self._meta("feature_shape")
        if identity is None or shape is None:
            return None
        return Binding(identity, tuple(json.loads(shape)))

    def bind(self, binding: Binding) -> None:
        """Set what features are made with from now on, in a store without examples."""
        self._set_meta("embed_identity", binding.embed_identity)
        self._set_meta("feature_shape", json.dumps(list(binding.feature_shape)))
        self.set_adapted_through(0)
        self._seal()

    def adapted_through(self) -> int:
        """The largest example id that the last adaptation saw; 0 before the first."""
        return int(self._meta("adapted_through") or "0")

    def set_adapted_through(self, example_id: int) -> None:
        """Set what `adapted_through` gives."""
        self._set_meta("adapted_through", str(example_id))

    def add(self, label: str, features: Float32Array) -> tuple[int, ...]:
        """Append examples `[n, *feature_shape]` of one label; returns their ids, ascending."""
        db = self._open_db()
        row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'examples'").fetchone()
        first = 1 if row is None else int(row[0]) + 1
        ids = tuple(range(first, first + len(features)))
        for example_id, values in zip(ids, features, strict=True):
            blob = values.astype("<f4").tobytes()
            db.execute(
                "INSERT INTO examples (id, label, features, sha256) VALUES (?, ?, ?, ?)",
                (example_id, label, blob, _digest(example_id, label, blob)),
            )
        self._seal()
        return ids

    def delete_label(self, label: str) -> int:
        """Delete the examples of one label; returns how many there were."""
        cursor = self._open_db().execute("DELETE FROM examples WHERE label = ?", (label,))
        self._rewrite_examples()
        self._seal()
        return cursor.rowcount

    def delete_examples(self, ids: Iterable[int]) -> None:
        """Delete examples by id; what is left counts as complete."""
        self._open_db().executemany("DELETE FROM examples WHERE id = ?", ((i,) for i in ids))
        self._rewrite_examples()
        self._seal()

    def examples(self) -> tuple[Example, ...]:
        """All kept examples in the order they were taught.

        Raises:
            StoreError: An example is missing.
        """
        self._check_seal()
        rows = self._open_db().execute("SELECT id, label FROM examples ORDER BY id")
        return tuple(Example(int(i), str(label)) for i, label in rows)

    def examples_digest(self, through: int) -> str:
        """Names the examples with ids up to `through`, their labels and features."""
        digest = hashlib.sha256()
        rows = self._open_db().execute(
            "SELECT id, sha256 FROM examples WHERE id <= ? ORDER BY id", (through,)
        )
        for example_id, sha256 in rows:
            digest.update(_digest(str(example_id), sha256))
        return digest.hexdigest()

    def load(
        self, shape: tuple[int, ...], *, through: int | None = None
    ) -> tuple[tuple[Example, ...], Float32Array]:
        """Examples with ids up to `through` (all by default) and their features `[n, *shape]`.

        Raises:
            StoreError: An example is damaged (names its id) or missing. None is left out silently.
        """
        self._check_seal()
        examples, rows = [], []
        for example, blob, good in self._checked(through):
            if not good or len(blob) != 4 * int(np.prod(shape)):
                msg = (
                    f"example {example.id} is damaged; open the home with drop_damaged=True to "
                    "remove such examples, then teach them again"
                )
                raise StoreError(msg)
            examples.append(example)
            rows.append(np.frombuffer(blob, dtype="<f4"))
        features = np.array(rows, dtype=np.float32).reshape(len(rows), *shape)
        return tuple(examples), features

    def damaged_ids(self) -> tuple[int, ...]:
        """Ids of the examples that do not match their checksum."""
        return tuple(example.id for example, _, good in self._checked(None) if not good)

    def state(self) -> StoredState | None:
        """The stored state, or None when there is none or it does not match its checksum."""
        row = (
            self._open_db()
            .execute("SELECT bundle_digest, examples_digest, names, data, sha256 FROM state")
            .fetchone()
        )
        if row is None:
            return None
        bundle_digest, examples_digest, names, data, sha256 = row
        if not isinstance(data, bytes) or sha256 != _digest(*row[:-1]):
            return None
        return StoredState(bundle_digest, examples_digest, tuple(json.loads(names)), data)

    def set_state(self, state: StoredState | None) -> None:
        """Replace the stored state; None when it is the bundle's own starting state."""
        db = self._open_db()
        db.execute("DELETE FROM state")
        if state is not None:
            names = json.dumps(state.names)
            columns = (state.bundle_digest, state.examples_digest, names, state.data)
            db.execute("INSERT INTO state VALUES (1, ?, ?, ?, ?, ?)", (*columns, _digest(*columns)))

    def scrub(self) -> bool:
        """Make deleted bytes leave the write-ahead log, and so the files; needs no transaction.

        (In the database file itself `_rewrite_examples` and `secure_delete` have erased them.)

        Returns:
            False where another process was reading for longer than the busy timeout: to be called
            again. The next opening of the store scrubs in any case.
        """
        deadline = time.monotonic() + self._busy_timeout_ms / 1000
        while True:
            with translated():
                (busy, _, _) = self._open_db().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy or time.monotonic() >= deadline:
                return not busy
            time.sleep(0.005)  # sqlite3 itself does not wait for another process that does this

    def _rewrite_examples(self) -> None:
        """Put all examples on new pages, so that no page keeps a copy of a deleted one.

        `secure_delete` zeroes a deleted row, but not the copies of it that sqlite3 left in the
        unused part of a page whenever it moved rows between pages. Clearing a table does zero its
        pages, whole.
        """
        db = self._open_db()
        db.execute("CREATE TEMP TABLE kept AS SELECT * FROM main.examples ORDER BY id")
        db.execute("DELETE FROM main.examples")
        db.execute("INSERT INTO main.examples SELECT * FROM temp.kept ORDER BY id")
        db.execute("DROP TABLE temp.kept")

    def _checked(self, through: int | None) -> Iterator[tuple[Example, bytes, bool]]:
        rows = self._open_db().execute(
            "SELECT id, label, features, sha256 FROM examples WHERE ? OR id <= ? ORDER BY id",
            (through is None, through),
        )
        for example_id, label, blob, sha256 in rows:
            typed = isinstance(label, str) and isinstance(blob, bytes)
            good = typed and sha256 == _digest(example_id, label, blob)
            yield Example(int(example_id), label if typed else ""), blob if typed else b"", good

    def _meta(self, key: str) -> str | None:
        row = (
            self._open_db()
            .execute("SELECT value, sha256 FROM meta WHERE key = ?", (key,))
            .fetchone()
        )
        if row is None:
            (num_rows,) = self._open_db().execute("SELECT count(*) FROM meta").fetchone()
            if num_rows:  # bind() writes all of them at once
                raise _damaged_meta()
            return None
        if row[1] != _digest(key, row[0]):
            raise _damaged_meta()
        return str(row[0])

    def _set_meta(self, key: str, value: str) -> None:
        self._open_db().execute(
            "INSERT OR REPLACE INTO meta (key, value, sha256) VALUES (?, ?, ?)",
            (key, value, _digest(key, value)),
        )

    def _seal(self) -> None:
        """Remember which ids there are, so that a lost row is noticed."""
        self._set_meta("example_ids", self._ids_digest())

    def _check_seal(self) -> None:
        sealed = self._meta("example_ids")
        if sealed not in {None, self._ids_digest()}:
            msg = (
                "examples are missing from the store; open the home with drop_damaged=True to go "
                "on without them, then teach them again"
            )
            raise StoreError(msg)

    def _ids_digest(self) -> str:
        rows = self._open_db().execute("SELECT id FROM examples ORDER BY id")
        return _digest(*(row[0] for row in rows)).hex()

    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            msg = "the store is closed; open a new Personalizer on its home"
            raise StoreError(msg)
        return self._db

    @contextmanager
    def _scope(self, begin: str) -> Iterator[None]:
        db = self._open_db()
        with translated():
            db.execute(begin)
            try:
                yield
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # a full disk may have rolled back already
                    db.execute("ROLLBACK")
                raise


def _digest(*parts: object) -> bytes:
    """SHA-256 of strings and bytes and their lengths; damage may have made other types of them."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def _damaged_meta() -> StoreError:
    return StoreError("the store's meta table is damaged; restore the home folder from a backup")
