"""A store with flipped bytes gives what was stored, or a typed error that shows no label."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import EdgeError, Personalizer, open_bundle
from edge_sdk.store import FILE_NAME
from tests.support import tiny

if TYPE_CHECKING:
    from pathlib import Path

NUM_FLIPS = 300


def contents(personal: Personalizer) -> tuple[object, ...]:
    features, slots = personal.support()
    state = personal.state.to_bytes()
    return [e.label for e in personal.examples], features.tobytes(), slots.tobytes(), state


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_byte_of_the_database_is_harmless_or_an_error(
    tiny_bundle: Path, tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    bundle, good, bad = open_bundle(tiny_bundle), tmp_path / "good", tmp_path / "bad"
    with Personalizer(bundle, home=good) as personal:
        for number, label in enumerate(("secret-anna", "secret-ben", "secret-anna")):
            personal.teach(label, tiny.class_examples(rng, 3, seed=number))
        personal.adapt()
        want = contents(personal)
    data = (good / FILE_NAME).read_bytes()
    used = np.flatnonzero(np.frombuffer(data, np.uint8))  # most of the rest is free space
    messages: list[str] = []
    for place in rng.choice(used, NUM_FLIPS // 3, replace=False):
        shutil.rmtree(bad, ignore_errors=True)
        bad.mkdir()
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        (bad / FILE_NAME).write_bytes(flipped)
        try:
            with Personalizer(bundle, home=bad) as personal:
                found = contents(personal)
        except EdgeError as error:
            messages.append(str(error))
        else:
            assert found == want
    assert messages
    assert not [message for message in messages if "secret" in message]


@pytest.mark.parametrize("value", ["'x'", "'-1'", "x'ff'", "1.5", "''"])
@pytest.mark.parametrize("key", ["adapted_through", "feature_shape", "embed_identity"])
def test_a_damaged_meta_table_is_a_typed_error(
    tiny_bundle: Path, tmp_path: Path, key: str, value: str
) -> None:
    home = tmp_path / "home"
    with Personalizer(tiny_bundle, home=home) as personal:
        personal.teach("a", np.ones((1, 1, 4, 4), np.float32))
        personal.adapt()
    db = sqlite3.connect(home / FILE_NAME)
    with db:
        db.execute(f"UPDATE meta SET value = {value} WHERE key = ?", (key,))  # noqa: S608
    db.close()
    with pytest.raises(EdgeError):
        Personalizer(tiny_bundle, home=home)


def test_a_lost_example_is_noticed_and_given_up_only_on_request(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with Personalizer(tiny_bundle, home=home) as personal:
        personal.teach("a", np.ones((3, 1, 4, 4), np.float32))
    db = sqlite3.connect(home / FILE_NAME)
    with db:
        db.execute("DELETE FROM examples WHERE id = 2")
    db.close()
    with pytest.raises(EdgeError, match="examples are missing"):
        Personalizer(tiny_bundle, home=home)
    with Personalizer(tiny_bundle, home=home, drop_damaged=True) as personal:
        assert [example.id for example in personal.examples] == [1, 3]
    Personalizer(tiny_bundle, home=home).close()
