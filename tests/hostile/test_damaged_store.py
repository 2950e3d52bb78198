"""A damaged store gives what was stored, or says what is damaged; it never shows a label of it."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_sdk import (
    EdgeError,
    Engine,
    Event,
    Personalizer,
    Source,
    StoreDamagedError,
    open_bundle,
)
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
def test_a_flipped_byte_of_the_database_is_harmless_or_said(
    tiny_bundle: Path, tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    bundle, good, bad = open_bundle(tiny_bundle), tmp_path / "good", tmp_path / "bad"
    with Personalizer(bundle, home=good) as personal:
        for number, label in enumerate(("secret-anna", "secret-ben", "secret-anna")):
            personal.teach(label, tiny.class_examples(rng, 3, seed=number))
        personal.adapt()
        want = contents(personal)
    base = Engine(bundle).initial_state().to_bytes()
    data = (good / FILE_NAME).read_bytes()
    used = np.flatnonzero(np.frombuffer(data, np.uint8))  # most of the rest is free space
    said: list[str] = []
    for place in rng.choice(used, NUM_FLIPS // 3, replace=False):
        shutil.rmtree(bad, ignore_errors=True)
        bad.mkdir()
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        (bad / FILE_NAME).write_bytes(flipped)
        events: list[Event] = []
        try:
            personal = Personalizer(bundle, home=bad, on_event=events.append)
        except EdgeError as error:  # another application's or a newer version's, by its header
            said.append(str(error))
            continue
        with personal:
            said += [event.detail for event in events]
            status = personal.status
            assert personal.state.to_bytes() == (want[-1] if status.source == "current" else base)
            try:
                found = contents(personal)
            except EdgeError as error:
                said.append(str(error))
            else:
                assert found == want or status.damage
    assert said
    assert not [message for message in said if "secret" in message]


@pytest.mark.parametrize("value", ["'x'", "'-1'", "x'ff'", "1.5", "''", "CAST(value AS BLOB)"])
@pytest.mark.parametrize("key", ["sealed", "store_id", "feature_shape", "embed_identity"])
def test_a_damaged_meta_table_is_said_and_erase_is_the_remedy(
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
    x = np.ones((1, 1, 4, 4), np.float32)
    with Personalizer(tiny_bundle, home=home) as personal:
        assert personal.status.source is Source.BASE_BY_DAMAGE
        assert "meta table is damaged" in personal.status.damage
        with pytest.raises(StoreDamagedError):
            personal.teach("a", x)
        personal.erase()
        assert personal.status.damage == ""
        personal.teach("a", x)
        personal.adapt()
        assert personal.predict(x).labels == ("a",)


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
    with Personalizer(tiny_bundle, home=home) as personal:
        assert "examples are missing" in personal.status.damage
        for call in (personal.adapt, personal.support, lambda: personal.forget("a"),
                     lambda: personal.teach("a", np.ones((1, 1, 4, 4), np.float32))):  # fmt: skip
            with pytest.raises(StoreDamagedError, match="examples are missing"):
                call()
    with Personalizer(tiny_bundle, home=home, drop_damaged=True) as personal:
        assert [example.id for example in personal.examples] == [1, 3]
    with Personalizer(tiny_bundle, home=home) as personal:
        assert personal.status.damage == ""
