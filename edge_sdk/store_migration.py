"""Brings a store of schema 1 to schema 2, inside one transaction of the opener.

Schema 1 kept one state, named by digests in columns, and what the last adaptation saw as the
largest example id in `meta`. What was damaged stays so: checksums are carried over, not made anew.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import TYPE_CHECKING

from edge_sdk.errors import StoreDamagedError
from edge_sdk.store_codec import Header, digest, encode_header

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable


def migrate_1_to_2(db: sqlite3.Connection, *, create: Callable[[], None]) -> None:
    """Rewrite the tables; `create` makes those of schema 2.

    Raises:
        StoreDamagedError: The meta table is damaged.
        sqlite3.Error: As sqlite3 says; the caller rolls back.
    """
    meta = _read_meta(db)
    (last_id,) = db.execute(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'examples'), 0)"
    ).fetchone()
    ids = [int(row[0]) for row in db.execute("SELECT id FROM examples ORDER BY id")]
    complete = meta.get("example_ids") in {None, digest(*ids).hex()}
    generation = _read_generation(db, meta, ids)
    for table in ("meta", "examples", "state"):
        db.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    create()
    db.execute(
        "INSERT INTO examples SELECT id, 1, CAST(label AS BLOB), features, sha256 FROM old_examples"
    )
    for table in ("meta", "examples", "state"):
        db.execute(f"DROP TABLE old_{table}")
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'examples'")
    db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('examples', ?)", (last_id,))
    if generation is not None:
        header, data = generation
        # no data: its checksum cannot match, so it counts as damaged and is computed again
        sums = digest("header", 1, header), digest("data", 1, data) if data else b""
        db.execute("INSERT INTO generations VALUES (1, 0, ?, ?, ?, ?)",
                   (header, sums[0], data, sums[1]))  # fmt: skip
    if meta:
        _write_meta(db, meta, ids if complete else [-1], [(1, 0)] if generation else [])


def _read_meta(db: sqlite3.Connection) -> dict[str, str]:
    meta: dict[str, str] = {}
    for key, value, sha256 in db.execute("SELECT key, value, sha256 FROM meta"):
        if not isinstance(value, str) or sha256 != digest(key, value):
            msg = "the store's meta table is damaged; restore the home folder from a backup"
            raise StoreDamagedError(msg)
        meta[key] = value
    return meta


def _read_generation(
    db: sqlite3.Connection, meta: dict[str, str], ids: list[int]
) -> tuple[bytes, bytes] | None:
    """The header and the state's bytes; these are empty where they have to be computed again."""
    through = int(meta.get("adapted_through", "0"))
    adapted = tuple(example_id for example_id in ids if example_id <= through)
    if not adapted:
        return None
    row = db.execute(
        "SELECT bundle_digest, examples_digest, names, data, sha256 FROM state"
    ).fetchone()
    if row is None or row[4] != digest(*row[:4]) or row[1] != _examples_digest(db, through):
        return encode_header(Header("", adapted, ())), b""
    return encode_header(Header(row[0], adapted, tuple(json.loads(row[2])))), row[3]


def _examples_digest(db: sqlite3.Connection, through: int) -> str:
    """How schema 1 named the examples that a state was adapted on."""
    rows = db.execute("SELECT id, sha256 FROM examples WHERE id <= ? ORDER BY id", (through,))
    parts = (digest(str(example_id), sha256) for example_id, sha256 in rows)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _write_meta(
    db: sqlite3.Connection, old: dict[str, str], ids: list[int], generations: list[tuple[int, int]]
) -> None:
    values = {
        "embed_identity": old["embed_identity"],
        "feature_shape": old["feature_shape"],
        "store_id": secrets.token_hex(16),
        "sealed": "none",
        "example_ids": digest(*((i, 1) for i in ids)).hex(),
        "generations": digest(*generations).hex(),
    }
    db.executemany(
        "INSERT INTO meta (key, value, sha256) VALUES (?, ?, ?)",
        [(key, value, digest(key, value)) for key, value in values.items()],
    )
