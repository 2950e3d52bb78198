"""The personal store's two generations of the state: read, verified, sealed and written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk.errors import StoreDamagedError
from edge_sdk.store_codec import Header, decode_header, digest, encode_header
from edge_sdk.store_rows import as_bytes, last_number, rewrite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sdk.sealing import Sealer
    from edge_sdk.store_rows import Owner

CURRENT, PREVIOUS = 0, 1
"""Roles of generations."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation as stored.

    Attributes:
        version: Its number; 0 is the bundle's own starting state, which has no header and no data.
        header: None when it is damaged.
        data: The state's bytes; None when they are damaged.
    """

    version: int
    header: Header | None
    data: bytes | None


class Generations:
    """The current state and the one before; each is read whole or said to be damaged."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def complete(self) -> bool:
        """Whether no generation was lost."""
        return self._owner.meta("generations") in {None, self._identity()}

    def version(self, role: int) -> int | None:
        """The version in that role; None where there is no generation."""
        row = (
            self._owner.database()
            .execute("SELECT version FROM generations WHERE role = ?", (role,))
            .fetchone()
        )
        return None if row is None else int(row[0])

    def read(self, role: int) -> Generation | None:
        """The generation in that role, damaged parts left out; None where there is none."""
        row = (
            self._owner.database()
            .execute(
                "SELECT version, header, header_sha256, data, data_sha256 FROM generations "
                "WHERE role = ?",
                (role,),
            )
            .fetchone()
        )
        if row is None:
            return None
        version, header, header_sha256, data, data_sha256 = row
        header = self._open(version, "header", header, header_sha256)
        decoded = None
        if header is not None:
            try:
                decoded = decode_header(header)
            except StoreDamagedError:
                decoded = None
        return Generation(int(version), decoded, self._open(version, "data", data, data_sha256))

    def write(self, role: int, header: Header, data: bytes) -> int:
        """Put a new generation into a role, in place of what was there; returns its version."""
        db = self._owner.database()
        version = last_number(db, "generations") + 1
        blobs = self._seal(version, encode_header(header), data)
        self.drop(role)
        db.execute("INSERT INTO generations VALUES (?, ?, ?, ?, ?, ?)", (version, role, *blobs))
        self._remember()
        return version

    def write_unfitted(self, role: int, ids: Sequence[int]) -> None:
        """Put a new generation into a role whose state is still to be computed from examples."""
        version = self.write(role, Header("", tuple(ids), ()), b"")
        self._owner.database().execute(  # so that it counts as damaged until then
            "UPDATE generations SET data_sha256 = x'' WHERE version = ?", (version,)
        )

    def write_base(self, role: int) -> None:
        """Put the bundle's own starting state, version 0, into a role."""
        self.drop(role)
        self._owner.database().execute(
            "INSERT INTO generations VALUES (0, ?, x'', x'', x'', x'')", (role,)
        )
        self._remember()

    def repair(self, role: int, header: Header, data: bytes) -> None:
        """Store what was computed again for the generation in that role; its version stays."""
        version = self.version(role)
        if version is not None:
            self._owner.database().execute(
                "UPDATE generations SET header = ?, header_sha256 = ?, data = ?, data_sha256 = ? "
                "WHERE role = ?",
                (*self._seal(version, encode_header(header), data), role),
            )

    def move(self, source: int, target: int) -> None:
        """Put the generation of one role into another, in place of what was there."""
        self.drop(target)
        self._owner.database().execute(
            "UPDATE generations SET role = ? WHERE role = ?", (target, source)
        )
        self._remember()

    def drop(self, role: int) -> None:
        """Delete the generation in a role, if any."""
        db = self._owner.database()
        if db.execute("DELETE FROM generations WHERE role = ?", (role,)).rowcount:
            rewrite(db, "generations")
        self._remember()

    def clear(self) -> None:
        """Delete both."""
        self._owner.database().execute("DELETE FROM generations")
        self._remember()

    def ids_in_use(self) -> tuple[int, ...]:
        """The examples that a readable generation was adapted on."""
        found = [self.read(role) for role in (CURRENT, PREVIOUS)]
        return tuple(
            i for g in found if g is not None and g.header is not None for i in g.header.ids
        )

    def seal_again(self, before: Sealer) -> None:
        """Seal both anew; `before` is what they are sealed with now. Damaged parts stay so."""
        db = self._owner.database()
        for version, *columns in db.execute(
            "SELECT version, header, header_sha256, data, data_sha256 FROM generations "
            "WHERE version > 0"
        ).fetchall():
            sealed: list[bytes] = []
            for name, blob, sha256 in (("header", *columns[:2]), ("data", *columns[2:])):
                good = sha256 == digest(name, version, blob)
                plain = before.open(as_bytes(blob), f"generations/{version}/{name}")
                again = self._owner.sealer().seal(plain, f"generations/{version}/{name}")
                sealed += [again, digest(name, version, again) if good else b""]
            db.execute(
                "UPDATE generations SET header = ?, header_sha256 = ?, data = ?, data_sha256 = ? "
                "WHERE version = ?",
                (*sealed, version),
            )
        rewrite(db, "generations")

    def _seal(self, version: int, header: bytes, data: bytes) -> Sequence[bytes]:
        sealer = self._owner.sealer()
        first = sealer.seal(header, f"generations/{version}/header")
        second = sealer.seal(data, f"generations/{version}/data")
        return first, digest("header", version, first), second, digest("data", version, second)

    def _open(self, version: int, name: str, blob: object, sha256: object) -> bytes | None:
        if not isinstance(blob, bytes) or sha256 != digest(name, version, blob):
            return None
        try:
            return self._owner.sealer().open(blob, f"generations/{version}/{name}")
        except StoreDamagedError:
            return None

    def _remember(self) -> None:
        self._owner.set_meta("generations", self._identity())

    def _identity(self) -> str:
        rows = self._owner.database().execute("SELECT version, role FROM generations ORDER BY role")
        return digest(*rows).hex()
