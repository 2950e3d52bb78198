"""A key file is private, durable, made once, and destroyed by an erasure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge_sdk import FileKeyStore, KeyStoreError, Personalizer, WrongKeyError
from tests.support.homes import all_bytes, shots, teach_in_turn

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_key_file_is_made_private_and_destroyed_by_erase(
    tiny_bundle: Path, home: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    path = tmp_path / "keys" / "user"
    with Personalizer(tiny_bundle, home=home, key=FileKeyStore(path)) as personal:
        teach_in_turn(personal, "anna-label")
        key = path.read_bytes()
        assert (len(key), path.stat().st_mode & 0o777) == (32, 0o600)
        assert [entry.name for entry in path.parent.iterdir()] == ["user"]
        assert key not in all_bytes(home)
    with Personalizer(tiny_bundle, home=home, key=FileKeyStore(path)) as personal:
        assert personal.labels == ("anna-label",)
        personal.erase()
        assert not path.exists()
        personal.teach("ben", shots(1))
        assert path.read_bytes() != key


def test_a_lost_key_file_is_not_replaced(tiny_bundle: Path, home: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    path = tmp_path / "key"
    with Personalizer(tiny_bundle, home=home, key=FileKeyStore(path)) as personal:
        teach_in_turn(personal, "anna-label")
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(WrongKeyError, match="key is not there"):
        Personalizer(tiny_bundle, home=home, key=FileKeyStore(path))
    assert not path.exists()
    path.write_bytes(kept)
    path.chmod(0o600)
    with Personalizer(tiny_bundle, home=home, key=FileKeyStore(path)) as personal:
        assert personal.labels == ("anna-label",)


@pytest.mark.parametrize("same_session", [True, False])
def test_a_key_that_could_not_be_destroyed_is_never_used_again(
    tiny_bundle: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    same_session: bool,
) -> None:
    pytest.importorskip("cryptography")
    keys = FileKeyStore(tmp_path / "key")

    def fail() -> None:
        msg = "busy"
        raise KeyStoreError(msg)

    with Personalizer(tiny_bundle, home=home, key=keys) as personal:
        teach_in_turn(personal, "anna-label")
        old = keys.load()
        with monkeypatch.context() as patch:
            patch.setattr(keys, "delete", fail)
            with pytest.raises(KeyStoreError):
                personal.erase()
            assert (personal.version, personal.examples) == (0, ())
            with pytest.raises(KeyStoreError):  # never with the key that was to be destroyed
                personal.teach("ben-label", shots(0))
            assert personal.examples == ()
        assert keys.load() == old
        if same_session:
            personal.teach("ben-label", shots(0))
            assert keys.load() != old
    with Personalizer(tiny_bundle, home=home, key=keys) as personal:
        assert keys.load() != old
        teach_in_turn(personal, "ben-label")
    with Personalizer(tiny_bundle, home=home, key=keys) as personal:
        assert personal.labels == ("ben-label",)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_damaged_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyStoreError, match="must hold 32 bytes"):
        FileKeyStore(path).load()


def test_a_key_file_that_others_can_read_or_that_is_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keys = FileKeyStore(path)
    assert keys.load() is None
    keys.delete()
    key = keys.create()
    assert keys.create() == keys.load() == key
    path.chmod(0o640)
    with pytest.raises(KeyStoreError, match="0600"):
        keys.load()
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(KeyStoreError):
        FileKeyStore(tmp_path / "link").load()
    keys.delete()
    assert keys.load() is None
