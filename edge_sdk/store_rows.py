"""The personal store's examples: rows read, verified, sealed and written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edge_sdk.background import pause
from edge_sdk.errors import StoreDamagedError
from edge_sdk.store_codec import digest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from edge_sdk.arrays import Float32Array
    from edge_sdk.sealing import Sealer

_ROWS_AT_ONCE = 6  # about 0.2 ms


@dataclass(frozen=True, slots=True)
class Example:
    """One kept example.

    Attributes:
        id: Ids only grow.
        label: The app's label; empty where values are taught.
        value: What was taught in its place, `outputs` numbers that are float32; None of a label.
    """

    id: int
    label: str
    value: tuple[float, ...] | None = None


class Owner(Protocol):
    """What the tables need of the store."""

    def database(self) -> sqlite3.Connection:
        """The open connection."""

    def sealer(self) -> Sealer:
        """What seals personal bytes."""

    def meta(self, key: str) -> str | None:
        """One value of the meta table."""

    def set_meta(self, key: str, value: str) -> None:
        """Set it."""


class Examples:
    """The examples: kept ones, and those let go of that a generation was still adapted on."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def add(self, label: str, features: Float32Array) -> tuple[int, ...]:
        """Append examples `[n, *feature_shape]` of one label; returns their ids, ascending."""
        db, sealer = self._owner.database(), self._owner.sealer()
        first = last_number(db, "examples") + 1
        ids = tuple(range(first, first + len(features)))
        for i, values in zip(ids, features, strict=True):
            name = sealer.seal(label.encode("utf-8"), f"examples/{i}/label")
            blob = sealer.seal(values.astype("<f4").tobytes(), f"examples/{i}/features")
            db.execute(
                "INSERT INTO examples (id, kept, label, features, sha256) VALUES (?, 1, ?, ?, ?)",
                (i, name, blob, digest(i, name, blob)),
            )
        self._remember()
        return ids

    def kept(self) -> tuple[Example, ...]:
        """The kept examples in the order they were taught.

        Raises:
            StoreDamagedError: One is missing, or its label cannot be read.
        """
        self.check_complete()
        return tuple(Example(i, self._label(i, blob)) for i, blob, _ in self._labels("WHERE kept"))

    def ids_of(self, label: str) -> tuple[int, ...]:
        """Ids of all examples of a label, kept or let go of, ascending.

        Raises:
            StoreDamagedError: Another example is damaged: its label may have been this one.
        """
        found = []
        for i, blob, good in self._labels(""):
            if self._label(i, blob) == label:
                found.append(i)
            elif not good:
                raise _damaged_example(i)
        return tuple(found)

    def ids(self, *, kept: bool = False) -> tuple[int, ...]:
        """Ids of all examples, or of the kept ones only, ascending."""
        where = "WHERE kept" if kept else ""
        rows = self._owner.database().execute(f"SELECT id FROM examples {where} ORDER BY id")  # noqa: S608
        return tuple(int(row[0]) for row in rows)

    def load(
        self, shape: tuple[int, ...], ids: Iterable[int]
    ) -> tuple[tuple[Example, ...], Float32Array]:
        """These examples, ids ascending, and their features `[n, *shape]`.

        Raises:
            StoreDamagedError: One is damaged (names its id) or missing. None is left out silently.
        """
        wanted = set(ids)
        examples, rows = [], []
        for i, label, features in self._verified():
            if i not in wanted:
                continue
            if label is None or features is None or len(features) != 4 * int(np.prod(shape)):
                raise _damaged_example(i)
            examples.append(Example(i, label))
            rows.append(np.frombuffer(features, dtype="<f4"))
        if len(rows) != len(wanted):
            raise _missing()
        values = np.array(rows, dtype=np.float32).reshape(len(rows), *shape)
        return tuple(examples), values

    def damaged_ids(self) -> tuple[int, ...]:
        """Ids of the examples that do not match their checksum or do not open."""
        return tuple(i for i, label, features in self._verified() if label is None or not features)

    def let_go(self, ids: Iterable[int]) -> None:
        """Keep examples no longer; they stay until `collect`."""
        self._owner.database().executemany(
            "UPDATE examples SET kept = 0 WHERE id = ?", ((i,) for i in ids)
        )
        self._remember()

    def collect(self, in_use: Iterable[int]) -> None:
        """Delete examples that were let go of, but those that a generation was adapted on."""
        used = set(in_use)
        rows = self._owner.database().execute("SELECT id FROM examples WHERE NOT kept").fetchall()
        self.delete([int(row[0]) for row in rows if row[0] not in used])

    def delete(self, ids: Sequence[int], *, accept_losses: bool = False) -> None:
        """Delete examples by id; rows that were lost before stay noticed, or are accepted."""
        remember = accept_losses or self._is_complete()
        if ids:
            db = self._owner.database()
            db.executemany("DELETE FROM examples WHERE id = ?", ((i,) for i in ids))
            rewrite(db, "examples")
        if remember:
            self._remember()

    def clear(self) -> None:
        """Delete all of them."""
        self._owner.database().execute("DELETE FROM examples")
        self._remember()

    def check_complete(self) -> None:
        """Notice a lost row.

        Raises:
            StoreDamagedError: One was lost.
        """
        if not self._is_complete():
            raise _missing()

    def seal_again(self, before: Sealer) -> None:
        """Seal all rows anew; `before` is what they are sealed with now. Damaged ones stay so."""
        db, after = self._owner.database(), self._owner.sealer()
        rows = db.execute("SELECT id, label, features, sha256 FROM examples").fetchall()
        for i, label, features, sha256 in rows:
            good = sha256 == digest(i, label, features)
            places = f"examples/{i}/label", f"examples/{i}/features"
            pair = [
                after.seal(before.open(as_bytes(blob), place), place)
                for blob, place in zip((label, features), places, strict=True)
            ]
            db.execute(
                "UPDATE examples SET label = ?, features = ?, sha256 = ? WHERE id = ?",
                (*pair, digest(i, *pair) if good else b"", i),
            )
        rewrite(db, "examples")

    def _labels(self, where: str) -> Iterator[tuple[int, object, bool]]:
        """Id, label as stored, and whether the row matches its checksum."""
        query = f"SELECT id, label, features, sha256 FROM examples {where} ORDER BY id"  # noqa: S608
        for i, blob, features, sha256 in self._owner.database().execute(query):
            yield int(i), blob, sha256 == digest(i, blob, features)

    def _label(self, i: int, blob: object) -> str:
        try:
            return self._owner.sealer().open(as_bytes(blob), f"examples/{i}/label").decode("utf-8")
        except (StoreDamagedError, UnicodeDecodeError):
            raise _damaged_example(i) from None

    def _verified(self) -> Iterator[tuple[int, str | None, bytes | None]]:
        """Id, label and feature bytes of each row; None and None where it is damaged."""
        rows = self._owner.database().execute(
            "SELECT id, label, features, sha256 FROM examples ORDER BY id"
        )
        for count, (i, name, blob, sha256) in enumerate(rows):
            if count % _ROWS_AT_ONCE == 0:
                pause()
            label, features = None, None
            if isinstance(blob, bytes) and sha256 == digest(i, name, blob):
                try:
                    label = self._label(i, name)
                    features = self._owner.sealer().open(blob, f"examples/{i}/features")
                except StoreDamagedError:
                    label, features = None, None
            yield int(i), label, features

    def _is_complete(self) -> bool:
        return self._owner.meta("example_ids") in {None, self._identity()}

    def _remember(self) -> None:
        self._owner.set_meta("example_ids", self._identity())

    def _identity(self) -> str:
        rows = self._owner.database().execute("SELECT id, kept FROM examples ORDER BY id")
        return digest(*rows).hex()


def last_number(db: sqlite3.Connection, table: str) -> int:
    """The largest id or version ever given in a table."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    if row is not None and not isinstance(row[0], int):
        msg = "the store's sequence table is damaged; restore the home folder from a backup"
        raise StoreDamagedError(msg)
    return 0 if row is None else int(row[0])


def rewrite(db: sqlite3.Connection, table: str) -> None:
    """Put all rows on new pages, so that no page keeps a copy of a deleted or replaced one.

    `secure_delete` zeroes a deleted row, but not the copies of it that sqlite3 left in the unused
    part of a page whenever it moved rows between pages. Clearing a table does zero its pages,
    whole.
    """
    db.execute(f"CREATE TEMP TABLE rows_left AS SELECT * FROM main.{table}")  # noqa: S608
    db.execute(f"DELETE FROM main.{table}")  # noqa: S608
    db.execute(f"INSERT INTO main.{table} SELECT * FROM temp.rows_left ORDER BY 1")  # noqa: S608
    db.execute("DROP TABLE temp.rows_left")


def as_bytes(blob: object) -> bytes:
    """What a damaged column holds may be of any type."""
    return blob if isinstance(blob, bytes) else str(blob).encode("utf-8", "surrogateescape")


def _damaged_example(example_id: int) -> StoreDamagedError:
    return StoreDamagedError(
        f"example {example_id} is damaged; open the home with drop_damaged=True to remove such "
        "examples, then teach them again"
    )


def _missing() -> StoreDamagedError:
    return StoreDamagedError(
        "examples are missing from the store; open the home with drop_damaged=True to go on "
        "without them, then teach them again"
    )
