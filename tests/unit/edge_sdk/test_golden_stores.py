"""Stores written by each released schema open, migrate and hold what they held."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from edge_sdk import Engine, Event, EventKind, Personalizer, Source, StoreError
from edge_sdk.audit import FILE_NAME as LOG_NAME
from edge_sdk.store import FILE_NAME
from edge_sdk.store_schema import SCHEMA_VERSION
from tests.conftest import GOLDEN
from tests.support.homes import run_sql, shots

if TYPE_CHECKING:
    from pathlib import Path

BUNDLES = ("tiny_prototypical", "tiny_gradient")
SCHEMAS = (1, 2, 3)


def copy_of(schema: int, bundle: str, tmp_path: Path) -> tuple[Path, dict[str, object]]:
    """A copy of a golden store, and what it holds."""
    source = GOLDEN.parent / f"store_schema_{schema}" / bundle
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(source / FILE_NAME, home)
    if schema > 2:
        shutil.copy(source / LOG_NAME, home)
    return home, json.loads((source / "expected.json").read_text("utf-8"))


def contents(personal: Personalizer) -> dict[str, object]:
    features, _ = personal.support()
    return {
        "examples": [[example.id, example.label] for example in personal.examples],
        "features_sha256": hashlib.sha256(features.tobytes()).hexdigest(),
        "state_sha256": hashlib.sha256(personal.state.to_bytes()).hexdigest(),
    }


def user_version(home: Path) -> int:
    db = sqlite3.connect(home / FILE_NAME)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return int(version)


def test_there_is_a_golden_store_of_the_current_schema() -> None:
    assert SCHEMAS[-1] == SCHEMA_VERSION


@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_golden_store_holds_what_it_held(bundle: str, schema: int, tmp_path: Path) -> None:
    home, expected = copy_of(schema, bundle, tmp_path)
    assert user_version(home) == schema
    events: list[Event] = []
    for _ in range(2):
        with Personalizer(GOLDEN / bundle, home=home, on_event=events.append) as personal:
            assert contents(personal) == expected
            assert personal.status.source is Source.CURRENT
            assert personal.status.damage == ""
    assert user_version(home) == SCHEMA_VERSION
    assert events == []  # the stored state was used, not computed again
    assert personal.audit_log.verify().ok
    with Personalizer(GOLDEN / bundle, home=home) as personal:
        assert personal.teach("dora", shots(7, 1)) == (10,)  # ids only grow
        personal.adapt()
        personal.forget("dora")
        personal.forget("cleo")
        assert contents(personal)["state_sha256"] == expected["state_sha256"]


def test_a_damaged_state_of_schema_1_is_computed_again(tmp_path: Path) -> None:
    home, expected = copy_of(1, "tiny_gradient", tmp_path)
    run_sql(home, "UPDATE state SET data = substr(data, 2)")
    events: list[Event] = []
    bundle = GOLDEN / "tiny_gradient"
    with Personalizer(bundle, home=home, on_event=events.append) as personal:
        assert contents(personal) == expected
        assert [event.kind for event in events] == [EventKind.RECOMPUTED]
        assert personal.version == 1


@pytest.mark.parametrize("table", ["examples", "meta"])
def test_what_was_damaged_in_schema_1_stays_noticed(table: str, tmp_path: Path) -> None:
    home, _ = copy_of(1, "tiny_prototypical", tmp_path)
    if table == "meta":
        run_sql(home, "UPDATE meta SET value = '7' WHERE key = 'adapted_through'")
    else:
        run_sql(home, "DELETE FROM examples WHERE id = 3")
    with Personalizer(GOLDEN / "tiny_prototypical", home=home) as personal:
        assert ("missing" if table == "examples" else "meta table") in personal.status.damage
        with pytest.raises(StoreError):
            personal.adapt()
    if table == "meta":
        assert user_version(home) == 1  # nothing was rewritten


def test_an_empty_store_of_schema_1_migrates(tmp_path: Path) -> None:
    home, _ = copy_of(1, "tiny_prototypical", tmp_path)
    for table in ("examples", "meta", "state"):
        run_sql(home, f"DELETE FROM {table}")  # noqa: S608
    with Personalizer(GOLDEN / "tiny_prototypical", home=home) as personal:
        assert personal.state == Engine(GOLDEN / "tiny_prototypical").initial_state()
        assert personal.teach("anna", shots(0, 1)) == (10,)
