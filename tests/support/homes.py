"""Helpers for tests of a personalizer's home: lessons, its bytes, and damage done to it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sdk.store import FILE_NAME
from tests.support import tiny

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sdk import Personalizer


def shots(seed: int, n: int = 3, *, draw: int = 0) -> Any:
    """`[n, 1, 4, 4]` examples of the class that `seed` picks."""
    return tiny.class_examples(np.random.default_rng(draw), n, seed=seed)


def teach_in_turn(personal: Personalizer, *labels: str) -> None:
    """Teach a label and adapt, for each of them; label i has the examples `shots(i)`."""
    for seed, label in enumerate(labels):
        personal.teach(label, shots(seed))
        personal.adapt()


def run_sql(home: Path, statement: str, *values: object) -> None:
    """Change the database behind the store's back; at least one row must change."""
    db = sqlite3.connect(home / FILE_NAME)
    with db:
        assert db.execute(statement, values).rowcount != 0
    db.close()


def all_bytes(*folders: Path) -> bytes:
    """The bytes of every file below some folders."""
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return b"".join(path.read_bytes() for path in files)
