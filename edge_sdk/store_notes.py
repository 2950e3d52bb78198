"""What the personal store keeps beside examples and states: the guard's memory, and audit lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk.errors import StoreDamagedError
from edge_sdk.store_codec import digest
from edge_sdk.store_rows import as_bytes, rewrite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_sdk.sealing import Sealer
    from edge_sdk.store_rows import Owner


class Memory:
    """Small texts by name, sealed like all that is personal."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def get(self, name: str) -> str | None:
        """The text; None where there is none.

        Raises:
            StoreDamagedError: It is damaged; `set` puts another one in its place.
        """
        row = (
            self._owner.database()
            .execute("SELECT data, sha256 FROM memory WHERE name = ?", (name,))
            .fetchone()
        )
        if row is None:
            return None
        data, sha256 = row
        if not isinstance(data, bytes) or sha256 != digest(name, data):
            raise _damaged(name)
        try:
            return self._owner.sealer().open(data, f"memory/{name}").decode("utf-8")
        except UnicodeDecodeError:
            raise _damaged(name) from None

    def set(self, name: str, text: str) -> None:
        """Keep a text in place of what was there."""
        data = self._owner.sealer().seal(text.encode("utf-8"), f"memory/{name}")
        self._owner.database().execute(
            "INSERT OR REPLACE INTO memory (name, data, sha256) VALUES (?, ?, ?)",
            (name, data, digest(name, data)),
        )

    def remove(self, *names: str) -> None:
        """Delete texts, and every copy of them in the file's pages."""
        db = self._owner.database()
        marks = ", ".join("?" * len(names))
        if db.execute(f"DELETE FROM memory WHERE name IN ({marks})", names).rowcount:  # noqa: S608
            rewrite(db, "memory")

    def clear(self) -> None:
        """Delete all of them."""
        self._owner.database().execute("DELETE FROM memory")

    def seal_again(self, before: Sealer) -> None:
        """Seal all of them anew; `before` is what they are sealed with now. Damaged ones go."""
        rows = self._owner.database().execute("SELECT name, data, sha256 FROM memory").fetchall()
        self.clear()
        for name, data, sha256 in rows:
            if sha256 == digest(name, data):
                self.set(name, before.open(as_bytes(data), f"memory/{name}").decode("utf-8"))


class Outbox:
    """Lines of the audit log: those that may not be in its file yet, or else the last one made.

    They hold nothing personal and are never sealed; an erasure leaves them. Each carries its own
    hash, so that damage to it is noticed by whoever reads it.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def lines(self) -> tuple[tuple[int, bytes], ...]:
        """All of them with their numbers, in the order of the log."""
        rows = self._owner.database().execute("SELECT seq, line FROM audit ORDER BY seq")
        return tuple((int(seq), as_bytes(line)) for seq, line in rows)

    def replace(self, lines: Iterable[tuple[int, bytes]]) -> None:
        """Keep these, with their numbers in the log, in place of those there are."""
        db = self._owner.database()
        db.execute("DELETE FROM audit")
        db.executemany("INSERT INTO audit (seq, line) VALUES (?, ?)", lines)


def _damaged(name: str) -> StoreDamagedError:
    return StoreDamagedError(f"what the guard remembers ({name}) is damaged; it starts afresh")
