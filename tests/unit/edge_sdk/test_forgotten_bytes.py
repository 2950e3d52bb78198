"""What is forgotten leaves the files: its rows, copies of them, and the write-ahead log."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Personalizer, errors
from edge_sdk.keys import FixedKey
from edge_sdk.store import FILE_NAME, Binding, Store
from edge_sdk.store_codec import Header
from edge_sdk.store_generations import CURRENT, PREVIOUS
from tests.support import tiny
from tests.support.homes import all_bytes, run_sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def shots(seed: int, n: int = 3) -> Any:
    return tiny.class_examples(np.random.default_rng(seed), n, seed=seed)


@pytest.fixture
def home(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A store that was taught two labels, adapted, and taught a third."""
    with Personalizer(tiny_bundle, home=tmp_path / "home") as personal:
        personal.teach("anna", shots(1))
        personal.teach("ben", shots(2))
        personal.adapt()
        personal.teach("cleo", shots(3))
    return tmp_path / "home"


def test_forgotten_bytes_leave_the_files(tiny_bundle: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Personalizer(tiny_bundle, home=home) as personal:
        personal.teach("kept", shots(1))
        personal.teach("forgotten-label", shots(2, 40))
        personal.adapt()
        features, slots = personal.support()
        secrets = [b"forgotten-label", personal.state["prototypes"][1].tobytes()]
        secrets += [row.tobytes() for row in features[slots == 1]]
        assert all(secret in all_bytes(home) for secret in secrets)  # the control
        personal.forget("forgotten-label")
        data = all_bytes(home)
        assert not [secret for secret in secrets if secret in data]
        assert features[0].tobytes() in data


@pytest.mark.parametrize("seed", [4, 16, 30, 35])
def test_forgotten_bytes_leave_pages_that_rows_were_moved_out_of(tmp_path: Path, seed: int) -> None:
    """Deleting makes sqlite3 move rows between pages; with these seeds it left copies behind."""
    rng = np.random.default_rng(seed)
    store = Store(tmp_path)
    store.database().execute("PRAGMA synchronous = OFF")
    with store.transaction():
        store.bind(Binding("embed", (64,)))
    kept: list[str] = []
    forgotten: list[str] = []
    for number in range(150):
        with store.transaction():
            if rng.random() < 0.75 or not kept:
                again = kept and rng.random() < 0.6
                label = str(rng.choice(kept)) if again else f"secret-{number:03d}"
                store.examples.add(label, np.ones((int(rng.integers(1, 12)), 64), np.float32))
                kept = [*dict.fromkeys((*kept, label))]
            else:
                label = str(rng.choice(kept))
                ids = store.examples.ids_of(label)
                assert ids
                store.examples.delete(ids)
                kept.remove(label)
                forgotten.append(label)
            if number % 2:
                store.generations.move(CURRENT, PREVIOUS)
            store.generations.write(CURRENT, Header("b", (), tuple(kept)), rng.bytes(2048))
            if forgotten:  # as forgetting does with what the generation before was adapted on
                store.generations.write(PREVIOUS, Header("b", (), tuple(kept)), rng.bytes(2048))
        assert store.scrub()
        found = all_bytes(tmp_path)
        assert not [label for label in forgotten if label.encode() in found]
    store.close()
    assert len(forgotten) > 10


def test_another_reader_delays_scrubbing_and_it_is_said(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    impatient = functools.partial(Store, busy_timeout_ms=50)
    monkeypatch.setattr("edge_sdk.live_store.Store", impatient)
    with Personalizer(tiny_bundle, home=home) as personal:
        personal.teach("kept", shots(1))
        personal.teach("forgotten-label", shots(2))
        personal.adapt()
        reader = sqlite3.connect(home / FILE_NAME, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM examples").fetchone()
        with pytest.raises(errors.StoreError, match="the label is forgotten"):
            personal.forget("forgotten-label")
        assert personal.labels == ("kept",)
        reader.close()
        personal.teach("kept", shots(1))
        assert b"forgotten-label" not in all_bytes(home)


def test_a_disk_that_fails_after_forgetting_is_no_secret(
    tiny_bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Store) -> bool:
        msg = "the personal store failed (SQLITE_FULL): the disk is full"
        raise errors.StoreError(msg)

    with Personalizer(tiny_bundle, home=home) as personal:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "scrub", fail)
            with pytest.raises(errors.StoreError, match=r"label is forgotten, but .* disk is full"):
                personal.forget("cleo")
        assert personal.labels == ("anna", "ben")
        personal.adapt()
        assert b"cleo" not in all_bytes(home)


def test_opening_scrubs_what_a_crash_left(tiny_bundle: Path, home: Path) -> None:
    store = Store(home)
    with store.transaction():
        store.examples.delete(store.examples.ids_of("cleo"))
    assert b"cleo" in all_bytes(home)
    with Personalizer(tiny_bundle, home=home):
        assert b"cleo" not in all_bytes(home)
    store.close()


def test_forgetting_waits_for_another_process_that_checkpoints(
    tiny_bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sqlite3 says busy at once then, whatever its timeout."""

    class BusyTwice:
        def __init__(self, db: sqlite3.Connection) -> None:
            self.db, self.left = db, 2

        def execute(self, sql: str) -> sqlite3.Cursor:
            self.left -= 1
            return self.db.execute(sql if self.left < 0 else "SELECT 1, 0, 0")

    with Personalizer(tiny_bundle, home=home) as personal:
        with monkeypatch.context() as patch:
            scrub, busy = Store.scrub, BusyTwice(personal._live.store.database())

            def scrub_when_busy(store: Store) -> bool:
                patch.setattr(store, "database", lambda: busy)
                return scrub(store)

            patch.setattr(Store, "scrub", scrub_when_busy)
            personal.forget("cleo")
        assert busy.left == -1
        assert b"cleo" not in all_bytes(home)


def test_an_interrupt_after_the_commit_is_seen_in_memory_too(
    tiny_bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Personalizer(tiny_bundle, home=home) as personal:
        personal.teach("ben", shots(2, 1))
        transaction = personal._live.store.transaction

        @contextmanager
        def interrupted() -> Iterator[None]:
            with transaction():
                yield
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(personal._live.store, "transaction", interrupted)
            with pytest.raises(KeyboardInterrupt):
                personal.forget("ben")
        assert personal.predict(shots(2, 1)).names == ("anna",)
        assert b"ben" in all_bytes(home)
        personal.teach("anna", shots(1, 1))
        assert b"ben" not in all_bytes(home)


def test_an_example_that_is_damaged_may_be_the_one_to_forget(tiny_bundle: Path, home: Path) -> None:
    run_sql(home, "UPDATE examples SET label = CAST('clea' AS BLOB) WHERE id = 8")
    with Personalizer(tiny_bundle, home=home) as personal:
        before = personal.examples
        with pytest.raises(errors.StoreDamagedError, match="example 8 is damaged"):
            personal.forget("cleo")
        assert personal.examples == before


@pytest.mark.parametrize("seed", [0, 15, 18, 23])
def test_encrypting_a_home_leaves_no_plain_copy(tmp_path: Path, seed: int) -> None:
    """Sealed rows are longer, so sqlite3 moves rows; with these seeds it left copies behind."""
    pytest.importorskip("cryptography")
    rng = np.random.default_rng(seed)
    store = Store(tmp_path)
    labels = [f"secret-{number:03d}" for number in range(60)]
    with store.transaction():
        store.bind(Binding("embed", (64,)))
        for label in labels:
            shape = int(rng.integers(1, 12)), int(rng.choice([2, 8, 200, 700]))
            store.examples.add(label, np.ones(shape, np.float32))
        header = Header("b", (), tuple(labels))
        for role in (PREVIOUS, CURRENT):
            store.generations.write(role, header, rng.bytes(2048))
    store.close()
    assert all(label.encode() in all_bytes(tmp_path) for label in labels)  # the control
    Store(tmp_path, keys=FixedKey(bytes(32))).close()
    found = all_bytes(tmp_path)
    assert not [label for label in labels if label.encode() in found]
