"""Erasing leaves nothing; with a key nothing personal can be read from the files."""

from __future__ import annotations

import sqlite3
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import (
    Engine,
    FileKeyStore,
    Personalizer,
    Source,
    StoreDamagedError,
    StoreError,
    WrongKeyError,
    errors,
)
from edge_sdk.keys import FixedKey
from edge_sdk.store import FILE_NAME, Store
from edge_sdk.store_codec import digest
from tests.support.homes import all_bytes, run_sql, shots, teach_in_turn

if TYPE_CHECKING:
    from pathlib import Path

KEY = bytes(range(32))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def secrets_of(personal: Personalizer) -> list[bytes]:
    """What must not be readable: labels, each example's features, the slots' tensors."""
    features, _ = personal.support()
    found = [label.encode() for label in personal.labels]
    found += [row.tobytes() for row in features]
    found += [row.tobytes() for row in personal.state["prototypes"] if row.any()]
    return found


def test_erasing_leaves_the_base_and_no_byte_of_the_user(tiny_bundle: Path, home: Path) -> None:
    with Personalizer(tiny_bundle, home=home) as personal:
        teach_in_turn(personal, "anna-label", "ben-label")
        personal.teach("cleo-label", shots(2))
        secrets = secrets_of(personal)
        assert all(secret in all_bytes(home) for secret in secrets)  # the control
        personal.erase()
        for _ in range(2):
            assert not [secret for secret in secrets if secret in all_bytes(home)]
            assert personal.state == Engine(tiny_bundle).initial_state()
            assert personal.examples == personal.labels == ()
            assert (personal.version, personal.status.source) == (0, Source.BASE)
            with pytest.raises(errors.NothingTaughtError):
                personal.predict(shots(0))
            with pytest.raises(errors.NoGenerationError):
                personal.roll_back()
            personal.erase()  # nothing is left to erase
        personal.teach("dora-label", shots(3))
        assert personal.adapt().version == 3  # numbers are never used twice
        assert personal.predict(shots(3, 1)).labels == ("dora-label",)


def test_after_erasing_predictions_equal_the_base_bit_for_bit(
    tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    x = shots(0, 5)
    with Personalizer(tiny_labelled_bundle, home=tmp_path / "new") as new:
        want = new.predict(x)
    with Personalizer(tiny_labelled_bundle, home=tmp_path / "home") as personal:
        teach_in_turn(personal, "anna")
        assert personal.predict(x).names != want.names
        personal.erase()
    for _ in range(2):
        with Personalizer(tiny_labelled_bundle, home=tmp_path / "home") as personal:
            got = personal.predict(x)
        assert got.probabilities.tobytes() == want.probabilities.tobytes()
        assert (got.names, got.labels, got.version) == (want.names, want.labels, 0)


def test_another_reader_delays_erasing_and_it_is_said(
    tiny_bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(path: Path, **options: Any) -> Store:
        return Store(path, busy_timeout_ms=50, **options)

    monkeypatch.setattr("edge_sdk.live_store.Store", impatient)
    with Personalizer(tiny_bundle, home=home) as personal:
        teach_in_turn(personal, "anna-label")
        reader = sqlite3.connect(home / FILE_NAME, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM examples").fetchone()
        with pytest.raises(StoreError, match="all is erased, but a reader"):
            personal.erase()
        assert personal.version == 0
        reader.close()
        personal.teach("ben", shots(1))
        assert b"anna-label" not in all_bytes(home)


@pytest.fixture
def encrypted(tiny_bundle: Path, home: Path) -> list[bytes]:
    """An encrypted home that was taught two labels; gives what must not be readable in it."""
    pytest.importorskip("cryptography")
    with Personalizer(tiny_bundle, home=home, key=KEY) as personal:
        assert personal.status.encrypted
        teach_in_turn(personal, "anna-label", "ben-label")
        personal.forget(2)
        personal.roll_back()
        personal.adapt()
        secrets = secrets_of(personal)
        assert not [secret for secret in secrets if secret in all_bytes(home)]
    return secrets


def test_an_encrypted_home_works_as_a_plain_one(
    tiny_bundle: Path, home: Path, tmp_path: Path, encrypted: list[bytes]
) -> None:
    with Personalizer(tiny_bundle, home=tmp_path / "plain") as plain:
        assert not plain.status.encrypted
        teach_in_turn(plain, "anna-label", "ben-label")
        plain.forget(2)
        plain.adapt()
        want = plain.state.to_bytes(), plain.examples
        assert all(secret in all_bytes(tmp_path / "plain") for secret in encrypted)  # the control
    with Personalizer(tiny_bundle, home=home, key=KEY) as personal:
        assert (personal.state.to_bytes(), personal.examples) == want
        assert personal.predict(shots(1, 1)).labels == ("ben-label",)
        personal.forget("anna-label")
        assert personal.labels == ("ben-label",)
        assert not [secret for secret in encrypted if secret in all_bytes(home)]


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_a_wrong_key_is_refused_and_nothing_is_lost(
    tiny_bundle: Path, home: Path, encrypted: list[bytes], key: bytes | None
) -> None:
    before = (home / FILE_NAME).read_bytes()
    assert encrypted
    with pytest.raises(WrongKeyError):
        Personalizer(tiny_bundle, home=home, key=key, drop_damaged=True)
    assert (home / FILE_NAME).read_bytes() == before
    with Personalizer(tiny_bundle, home=home, key=KEY) as personal:
        assert personal.labels == ("anna-label", "ben-label")


@pytest.mark.parametrize("key", [b"short", bytes(33), "x" * 32, 7, FileKeyStore])
def test_what_is_no_key_is_refused(tiny_bundle: Path, home: Path, key: Any) -> None:
    with pytest.raises(errors.InvalidOptionError, match="32 random bytes"):
        Personalizer(tiny_bundle, home=home, key=key)


def test_a_plain_home_is_encrypted_in_place(tiny_bundle: Path, home: Path) -> None:
    pytest.importorskip("cryptography")
    with Personalizer(tiny_bundle, home=home) as personal:
        teach_in_turn(personal, "anna-label", "ben-label")
        secrets, want = secrets_of(personal), personal.state
    run_sql(home, "UPDATE examples SET features = zeroblob(32) WHERE id = 2")
    with Personalizer(tiny_bundle, home=home, key=KEY) as personal:
        assert not [secret for secret in secrets if secret in all_bytes(home)]
        assert personal.status.encrypted
        assert (personal.state, personal.version) == (want, 2)
        with pytest.raises(StoreDamagedError, match="example 2 is damaged"):  # still is
            personal.adapt()
        personal.roll_back()
        assert personal.predict(shots(0, 1)).labels == ("anna-label",)
    with pytest.raises(WrongKeyError):
        Personalizer(tiny_bundle, home=home)


def test_each_blob_has_its_own_nonce_and_opens_only_in_its_place(
    home: Path, encrypted: list[bytes]
) -> None:
    assert encrypted
    store = Store(home, keys=FixedKey(KEY))
    with store.snapshot():
        rows = store.database().execute("SELECT id, label, features FROM examples").fetchall()
        sealer = store.sealer()
        for i, label, features in rows:
            assert sealer.open(label, f"examples/{i}/label")
            for j, *_ in rows:
                for blob, column in ((label, "label"), (features, "features")):
                    for other in ("label", "features"):
                        if (i, column) != (j, other):
                            with pytest.raises(StoreDamagedError):
                                sealer.open(blob, f"examples/{j}/{other}")
    store.close()
    nonces = [blob[:12] for _, *pair in rows for blob in pair]
    assert len(set(nonces)) == len(nonces) > 8


def test_swapped_rows_are_noticed_even_with_right_checksums(
    tiny_bundle: Path, home: Path, encrypted: list[bytes]
) -> None:
    assert encrypted
    db = sqlite3.connect(home / FILE_NAME)
    (blob,) = db.execute("SELECT features FROM examples WHERE id = 1").fetchone()
    (label,) = db.execute("SELECT label FROM examples WHERE id = 4").fetchone()
    with db:
        db.execute("UPDATE examples SET features = ?, sha256 = ? WHERE id = 4",
                   (blob, digest(4, label, blob)))  # fmt: skip
    db.close()
    with (
        Personalizer(tiny_bundle, home=home, key=KEY) as personal,
        pytest.raises(StoreDamagedError, match="example 4 is damaged"),
    ):
        personal.support()


@pytest.mark.parametrize("damage", ["meta", "file"])
def test_an_encrypted_home_too_damaged_to_be_read_is_erased_with_its_key(
    tiny_bundle: Path, home: Path, tmp_path: Path, damage: str
) -> None:
    pytest.importorskip("cryptography")
    keys = FileKeyStore(tmp_path / "key")
    with Personalizer(tiny_bundle, home=home, key=keys) as personal:
        teach_in_turn(personal, "anna-label")
        old = keys.load()
    if damage == "meta":
        run_sql(home, "UPDATE meta SET value = 'x' WHERE key = 'sealed'")
    else:
        (home / FILE_NAME).write_bytes(b"x" + (home / FILE_NAME).read_bytes()[1:])
    with Personalizer(tiny_bundle, home=home, key=keys) as personal:
        assert personal.status.source is Source.BASE_BY_DAMAGE
        assert personal.status.encrypted
        personal.erase()
        assert keys.load() is None
        teach_in_turn(personal, "ben-label")
        assert keys.load() not in {None, old}
    with Personalizer(tiny_bundle, home=home, key=keys) as personal:
        assert personal.labels == ("ben-label",)


def test_erasing_an_encrypted_home_destroys_its_data_key(
    tiny_bundle: Path, home: Path, encrypted: list[bytes]
) -> None:
    wrapped = wrapped_key(home)
    with Personalizer(tiny_bundle, home=home, key=KEY) as personal:
        personal.erase()
        assert wrapped not in all_bytes(home)
        assert personal.status.encrypted
        personal.teach("dora-label", shots(3))
        assert b"dora-label" not in all_bytes(home)
        assert not [secret for secret in encrypted if secret in all_bytes(home)]
    assert wrapped_key(home) != wrapped


def wrapped_key(home: Path) -> bytes:
    db = sqlite3.connect(home / FILE_NAME)
    (sealed,) = db.execute("SELECT value FROM meta WHERE key = 'sealed'").fetchone()
    db.close()
    return bytes(sealed, "ascii")


def test_without_cryptography_a_key_says_what_to_install(
    tiny_bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cryptography", "cryptography.hazmat.primitives.ciphers.aead"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(errors.MissingExtraError, match=r"edge-sdk\[secure\]"):
        Personalizer(tiny_bundle, home=home, key=KEY)
    with Personalizer(tiny_bundle, home=home) as personal:
        personal.teach("anna", np.ones((1, 1, 4, 4), np.float32))
