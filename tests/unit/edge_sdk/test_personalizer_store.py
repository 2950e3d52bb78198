"""Personalizer and its files: new bundles, damage, full disks, other processes and threads."""

from __future__ import annotations

import functools
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Engine, Event, EventKind, Personalizer, Source, errors, open_bundle
from edge_sdk.store import FILE_NAME, Store
from edge_sdk.store_generations import Generations
from tests.support import tiny

if TYPE_CHECKING:
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


def run_sql(home: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(home / FILE_NAME)
    with db:
        assert db.execute(statement, values).rowcount != 0
    db.close()


def test_only_the_user_can_read_the_files(tiny_bundle: Path, home: Path) -> None:
    with Personalizer(tiny_bundle, home=home):
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (home, *home.iterdir())}
    assert modes == {0o700, 0o600}


def test_a_new_bundle_with_the_same_embed_keeps_the_examples(
    tiny_bundle: Path, tiny_labelled_bundle: Path, home: Path, tmp_path: Path
) -> None:
    init = open_bundle(tiny_labelled_bundle).files["init.onnx"]
    newer = tiny.rewrite(tiny_bundle, tmp_path / "v2", graphs={"init.onnx": init}, version=2)
    with Personalizer(tiny_bundle, home=home) as personal:
        old = personal.state
    with Personalizer(newer, home=home) as personal:
        features, slots = personal.support()
        assert [example.id for example in personal.examples] == list(range(1, 10))
        assert personal.state != old
        # cleo came after the last adapt: the first six examples are what it saw
        assert personal.state == Engine(newer).adapt(features[:6], slots[:6]).state
    with Personalizer(tiny_bundle, home=home) as personal:
        assert personal.state == old


def test_fewer_slots_than_labels_is_said_and_nothing_is_lost(
    tiny_bundle: Path, tiny_labelled_bundle: Path, home: Path
) -> None:
    with Personalizer(tiny_bundle, home=home) as personal:
        personal.adapt()
        before = personal.state.to_bytes()
    events: list[Event] = []
    # two fixed labels and three taught, four slots
    with Personalizer(tiny_labelled_bundle, home=home, on_event=events.append) as personal:
        assert EventKind.FELL_BACK in {event.kind for event in events}
        assert personal.status.source is not Source.CURRENT
        assert "5 are needed; forget a label" in personal.status.damage
        personal.predict(shots(3))
        for call in (personal.adapt, lambda: personal.labels, lambda: personal.update(1.0),
                     lambda: personal.teach("cleo", shots(3))):  # fmt: skip
            with pytest.raises(errors.CapacityError):
                call()
    with Personalizer(tiny_bundle, home=home) as personal:
        assert personal.labels == ("anna", "ben", "cleo")
        assert personal.state.to_bytes() == before


def test_forgetting_labels_one_by_one_fits_a_home_to_fewer_slots(
    tiny_bundle: Path, tiny_labelled_bundle: Path, tmp_path: Path
) -> None:
    four, narrow = tmp_path / "home", tiny_labelled_bundle  # which names two of its four slots
    with Personalizer(tiny_bundle, home=four) as personal:
        for seed, label in enumerate(("anna", "ben", "cleo", "dora")):
            personal.teach(label, shots(seed))
        personal.adapt()
    with Personalizer(narrow, home=four) as personal:
        personal.forget("ben")
        assert "5 are needed" in personal.status.damage
        personal.forget("cleo")
        assert personal.status.damage == ""
        assert personal.status.source is Source.CURRENT
        assert personal.predict(shots(3, 1)).labels == ("dora",)
        got = personal.state.to_bytes()
    with Personalizer(narrow, home=tmp_path / "never") as personal:
        personal.teach("anna", shots(0))
        personal.teach("dora", shots(3))
        personal.adapt()
        assert personal.state.to_bytes() == got


def test_another_embed_is_refused_and_nothing_is_lost(
    tiny_bundle: Path, tiny_gradient_bundle: Path, home: Path
) -> None:
    with pytest.raises(errors.BadStateError, match="teach again"):
        Personalizer(tiny_gradient_bundle, home=home)
    with Personalizer(tiny_bundle, home=home) as personal:
        assert len(personal.examples) == 9


def test_an_empty_store_takes_any_bundle_and_the_old_one_notices(
    tiny_bundle: Path, tiny_gradient_bundle: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with (
        Personalizer(tiny_bundle, home=home) as first,
        Personalizer(tiny_gradient_bundle, home=home) as second,
    ):
        second.teach("anna", shots(1))
        with pytest.raises(errors.BadStateError):
            first.teach("ben", shots(2))
        with pytest.raises(errors.BadStateError):
            first.support()
        assert {example.label for example in second.examples} == {"anna"}


def test_without_embed_the_input_and_the_learner_are_the_identity(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    spec = replace(open_bundle(tiny_bundle).manifest.input, shape=(8,))
    no_embed = {"embed.onnx": None}
    one = tiny.rewrite(tiny_bundle, tmp_path / "one", graphs=no_embed, input=spec)
    two = tiny.rewrite(tiny_bundle, tmp_path / "two", graphs=no_embed, input=spec, version=2)
    other = tiny.rewrite(tiny_bundle, tmp_path / "o", graphs=no_embed, input=spec, learner="other")
    x = np.ones((2, 8), np.float32)
    with Personalizer(one, home=tmp_path / "home") as personal:
        personal.teach("anna", x)
    with Personalizer(two, home=tmp_path / "home") as personal:
        np.testing.assert_array_equal(personal.support()[0], x)
    with pytest.raises(errors.BadStateError):
        Personalizer(other, home=tmp_path / "home")


def test_a_damaged_example_stops_adapt_and_forget_but_not_its_own_forgetting(
    tiny_bundle: Path, home: Path
) -> None:
    with Personalizer(tiny_bundle, home=home) as personal:
        run_sql(home, "UPDATE examples SET features = zeroblob(32) WHERE id = 5")
        before = personal.state
        for call in (personal.adapt, lambda: personal.forget("anna"), personal.support):
            with pytest.raises(errors.StoreError, match="example 5 is damaged"):
                call()
            assert personal.state == before
            assert len(personal.examples) == 9
        personal.forget("ben")
        assert personal.labels == ("anna", "cleo")


def test_an_example_whose_label_is_damaged_stops_forgetting(tiny_bundle: Path, home: Path) -> None:
    run_sql(home, "UPDATE examples SET label = 'clea' WHERE id = 8")  # adapt has not seen it yet
    with Personalizer(tiny_bundle, home=home) as personal:
        with pytest.raises(errors.StoreError, match="example 8 is damaged"):
            personal.forget("cleo")
        assert len(personal.examples) == 9


def test_a_full_disk_changes_nothing(tiny_bundle: Path, home: Path) -> None:
    with Personalizer(tiny_bundle, home=home) as personal:
        before = personal.examples, personal.state
        db = personal._live.store.database()
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(errors.StoreError, match="full"):
            personal.teach("ben", shots(2, 500))
        assert (personal.examples, personal.state) == before
        db.execute("PRAGMA max_page_count = 100000")
        personal.teach("ben", shots(2, 500))


def test_an_interrupt_changes_nothing(
    tiny_bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with Personalizer(tiny_bundle, home=home) as personal:
        before = personal.examples, personal.state
        with monkeypatch.context() as patch:
            patch.setattr(Generations, "write", interrupt)
            for call in (personal.adapt, lambda: personal.forget("anna")):
                with pytest.raises(KeyboardInterrupt):
                    call()
        assert (personal.examples, personal.state) == before


def test_another_application_s_database_is_left_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / FILE_NAME)
    db.execute("CREATE TABLE notes (text TEXT)")
    db.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(errors.StoreError, match="not a personal store"):
        Personalizer(tiny_bundle, home=tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_newer_schema_is_refused(tiny_bundle: Path, home: Path) -> None:
    db = sqlite3.connect(home / FILE_NAME)
    db.execute("PRAGMA user_version = 4")
    db.close()
    with pytest.raises(errors.StoreError, match=r"schema version 4.*install the edge-sdk"):
        Personalizer(tiny_bundle, home=home)


def test_a_home_that_is_a_file_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(errors.StoreError, match="home folder"):
        Personalizer(tiny_bundle, home=tmp_path / "file")


def test_one_home_sees_what_another_process_does(tiny_bundle: Path, home: Path) -> None:
    with (
        Personalizer(tiny_bundle, home=home) as first,
        Personalizer(tiny_bundle, home=home) as second,
    ):
        second.adapt()
        assert first.state == second.state
        assert first.predict(shots(3, 1)).labels == ("cleo",)
        second.forget("cleo")
        first.refresh()
        assert first.predict(shots(3, 1)).names == ("anna", "ben")
        second.teach("dora", shots(4))
        second.adapt()
        time.sleep(0.025)  # longer than `predict` may go without a look
        assert first.predict(shots(4, 1)).labels == ("dora",)
        assert first.labels == ("anna", "ben", "dora")


def test_a_writer_that_holds_on_is_a_clear_error(
    tiny_bundle: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = functools.partial(Store, busy_timeout_ms=50)
    monkeypatch.setattr("edge_sdk.live_store.Store", impatient)
    with Personalizer(tiny_bundle, home=home) as personal:
        other = sqlite3.connect(home / FILE_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        before = personal.examples
        with pytest.raises(errors.StoreError, match="locked"):
            personal.teach("ben", shots(2))
        other.close()
        assert personal.examples == before
        personal.teach("ben", shots(2))


def test_threads_share_one(tiny_bundle: Path, tmp_path: Path) -> None:
    with Personalizer(tiny_bundle, home=tmp_path / "home") as personal:
        personal.teach("label-1", shots(1))
        personal.adapt()

        def work(seed: int) -> None:
            personal.teach(f"label-{seed % 3}", shots(seed % 3))
            personal.adapt()
            assert personal.predict(shots(1, 2)).labels == ("label-1",) * 2

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(24)))
        features, slots = personal.support()
        assert len(features) == 75
        assert personal.state == Engine(tiny_bundle).adapt(features, slots).state
