"""Two generations of the state: versions, roll-back, and what answers when one is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import Engine, Event, EventKind, Personalizer, Source, errors
from edge_sdk.store import FILE_NAME, Store
from edge_sdk.store_generations import CURRENT
from tests.support import tiny
from tests.support.homes import run_sql, shots, teach_in_turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["tiny_bundle", "tiny_gradient_bundle", "tiny_sequential_bundle"])
def bundle(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def personal(bundle: Path, home: Path) -> Iterator[Personalizer]:
    with Personalizer(bundle, home=home) as opened:
        yield opened


def test_committed_states_are_numbered_and_predictions_name_them(
    bundle: Path, home: Path, personal: Personalizer
) -> None:
    assert personal.version == personal.status.version == 0
    assert personal.status.source is Source.BASE
    personal.teach("anna", shots(0))
    assert personal.version == 0
    assert [personal.adapt().version for _ in range(3)] == [1, 2, 3]
    got = personal.predict(shots(0))
    assert got.version == personal.version == 3
    assert personal.status.source is Source.CURRENT
    with Personalizer(bundle, home=home) as again:
        assert again.predict(shots(0)).version == 3
    personal.forget("anna")
    assert personal.version == 0
    personal.teach("ben", shots(1))
    # the empty state that forgetting left has no number of its own, but the one before it had
    assert personal.adapt().version == 4


def test_roll_back_returns_to_the_generation_before_and_stays(
    bundle: Path, home: Path, personal: Personalizer
) -> None:
    teach_in_turn(personal, "anna", "ben")
    first = Engine(bundle).adapt(*[part[:3] for part in personal.support()]).state
    second, examples = personal.state, personal.examples
    assert second != first
    personal.roll_back()
    assert personal.state.to_bytes() == first.to_bytes()
    assert (personal.version, personal.status.source) == (1, Source.CURRENT)
    assert personal.predict(shots(0)).names == ("anna",)
    assert personal.examples == examples
    with Personalizer(bundle, home=home) as again:
        assert again.state.to_bytes() == first.to_bytes()
        assert again.version == 1
        with pytest.raises(errors.NoGenerationError):
            again.roll_back()
        assert again.version == 1
        again.teach("cleo", shots(2))
        assert again.adapt().version == 3  # from all kept examples; 2 is never used again
        assert again.predict(shots(1)).names == ("anna", "ben", "cleo")
        again.roll_back()
        assert again.state.to_bytes() == first.to_bytes()


def test_before_the_first_adapted_state_comes_the_bundle_s_own(
    bundle: Path, home: Path, personal: Personalizer
) -> None:
    with pytest.raises(errors.NoGenerationError, match="no earlier generation"):
        personal.roll_back()
    personal.teach("anna", shots(0))
    personal.adapt()
    personal.roll_back()
    for opened in (personal, Personalizer(bundle, home=home)):
        with opened:
            assert opened.state == Engine(bundle).initial_state()
            assert (opened.version, opened.status.source) == (0, Source.BASE)
            assert [example.label for example in opened.examples] == ["anna"] * 3


def test_forgetting_reaches_the_generation_before_as_well(bundle: Path, tmp_path: Path) -> None:
    with Personalizer(bundle, home=tmp_path / "a") as personal:
        teach_in_turn(personal, "anna", "ben", "cleo")
        personal.forget("anna")
        after, version = personal.state.to_bytes(), personal.version
        assert version > 3
        personal.roll_back()
        before = personal.state.to_bytes()
        assert personal.predict(shots(1)).names == ("ben",)
    with Personalizer(bundle, home=tmp_path / "b") as never:
        for seed, label in ((1, "ben"), (2, "cleo")):
            never.teach(label, shots(seed))
            never.adapt()
        assert never.state.to_bytes() == after
        never.roll_back()
        assert never.state.to_bytes() == before


def test_one_example_is_forgotten_exactly(bundle: Path, tmp_path: Path) -> None:
    rows = shots(0, 4)
    with Personalizer(bundle, home=tmp_path / "a") as personal:
        ids = personal.teach("anna", rows)
        personal.teach("ben", shots(1))
        personal.adapt()
        personal.forget(ids[2])
        assert [example.id for example in personal.examples] == [1, 2, 4, 5, 6, 7]
        state = personal.state.to_bytes()
        with pytest.raises(errors.UnknownExampleError):
            personal.forget(ids[2])
    with Personalizer(bundle, home=tmp_path / "b") as never:
        never.teach("anna", np.delete(rows, 2, axis=0))
        never.teach("ben", shots(1))
        never.adapt()
        assert never.state.to_bytes() == state


def test_an_upgraded_bundle_gives_its_states_new_numbers(
    tiny_bundle: Path, tiny_labelled_bundle: Path, home: Path, tmp_path: Path
) -> None:
    files = {"init.onnx": (tiny_labelled_bundle / "init.onnx").read_bytes()}
    newer = tiny.rewrite(tiny_bundle, tmp_path / "v2", graphs=files, version=2)
    with Personalizer(tiny_bundle, home=home) as personal:
        teach_in_turn(personal, "anna", "ben")
        old = personal.state
    events: list[Event] = []
    with Personalizer(newer, home=home, on_event=events.append) as personal:
        assert [event.kind for event in events] == [EventKind.RECOMPUTED]
        assert personal.version == 3
        assert personal.state != old
        features, slots = personal.support()
        personal.roll_back()
        assert personal.state == Engine(newer).adapt(features[:3], slots[:3]).state
        assert personal.version == 4


# --- damage ------------------------------------------------------------------------------------

CORRUPTIONS = {
    "data": "data = substr(data, 2)",
    "data's checksum": "data_sha256 = x'00'",
    "type": "data = 'text'",
    "bundle": "data = x''",
}


@pytest.mark.parametrize("damage", CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_a_damaged_state_is_computed_again(bundle: Path, home: Path, damage: str) -> None:
    with Personalizer(bundle, home=home) as personal:
        teach_in_turn(personal, "anna", "ben")
        want = personal.state
    run_sql(home, f"UPDATE generations SET {damage} WHERE role = 0")  # noqa: S608
    events: list[Event] = []
    with Personalizer(bundle, home=home, on_event=events.append) as personal:
        assert personal.state == want
        assert (personal.version, personal.status.source) == (2, Source.CURRENT)
        assert [(event.kind, event.version) for event in events] == [(EventKind.RECOMPUTED, 2)]
    with Personalizer(bundle, home=home, on_event=events.append) as personal:
        assert personal.state == want
    assert len(events) == 1  # it had been stored again


LOSSES = {
    "its header": ["UPDATE generations SET header = substr(header, 2) WHERE role = 0"],
    "its header's checksum": ["UPDATE generations SET header_sha256 = x'' WHERE role = 0"],
    "its row": ["DELETE FROM generations WHERE role = 0",
                "INSERT INTO generations VALUES (9, 0, x'', x'', x'', x'')"],
    "its data and an example": ["UPDATE generations SET data = x'00' WHERE role = 0",
                                "UPDATE examples SET features = zeroblob(32) WHERE id = 5"],
}  # fmt: skip


@pytest.mark.parametrize("statements", LOSSES.values(), ids=LOSSES.keys())
def test_the_generation_before_answers_when_the_current_one_is_lost(
    bundle: Path, home: Path, statements: list[str]
) -> None:
    with Personalizer(bundle, home=home) as personal:
        teach_in_turn(personal, "anna")
        before = personal.state
        personal.teach("ben", shots(1))
        personal.adapt()
    for statement in statements:
        run_sql(home, statement)
    events: list[Event] = []
    with Personalizer(bundle, home=home, on_event=events.append) as personal:
        assert personal.state == before
        assert (personal.version, personal.status.source) == (1, Source.PREVIOUS)
        assert personal.status.damage
        assert [event.kind for event in events] == [EventKind.FELL_BACK]
        assert personal.predict(shots(0)).labels == ("anna",) * 3
        if "example" not in personal.status.damage:
            assert personal.adapt().version > 2
            assert personal.status.damage == ""
            personal.roll_back()
            assert (personal.version, personal.state) == (1, before)


def test_dropping_damaged_examples_repairs_what_rested_on_them(bundle: Path, home: Path) -> None:
    with Personalizer(bundle, home=home) as personal:
        teach_in_turn(personal, "anna", "ben")
    run_sql(home, "UPDATE generations SET data = x'00' WHERE role = 0")
    run_sql(home, "UPDATE examples SET features = zeroblob(32) WHERE id IN (2, 5)")
    with Personalizer(bundle, home=home, drop_damaged=True) as personal:
        assert personal.dropped == (2, 5)
        assert (personal.status.source, personal.status.damage) == (Source.CURRENT, "")
        features, slots = personal.support()
        assert personal.state == Engine(bundle).adapt(features, slots).state
        personal.roll_back()
        assert personal.state == Engine(bundle).adapt(features[:2], slots[:2]).state


def test_the_base_answers_when_both_generations_are_lost(bundle: Path, home: Path) -> None:
    with Personalizer(bundle, home=home) as personal:
        teach_in_turn(personal, "anna", "ben")
        want = personal.state
    run_sql(home, "UPDATE generations SET header = x'00'")
    events: list[Event] = []
    with Personalizer(bundle, home=home, on_event=events.append) as personal:
        assert personal.state == Engine(bundle).initial_state()
        assert (personal.version, personal.status.source) == (0, Source.BASE_BY_DAMAGE)
        assert [event.kind for event in events] == [EventKind.FELL_BACK]
        with pytest.raises(errors.StoreDamagedError, match="header"):
            personal.roll_back()
        personal.adapt()
        assert personal.state == want
        assert (personal.version, personal.status.source) == (3, Source.CURRENT)


def test_forgetting_removes_a_damaged_generation_that_may_know_it(bundle: Path, home: Path) -> None:
    with Personalizer(bundle, home=home) as personal:
        teach_in_turn(personal, "anna", "ben")
    run_sql(home, "UPDATE generations SET header_sha256 = x'' WHERE role = 0")
    with Personalizer(bundle, home=home) as personal:
        personal.forget("ben")
        features, slots = personal.support()
        assert personal.state == Engine(bundle).adapt(features, slots).state
        assert personal.status.damage == ""
        with pytest.raises(errors.NoGenerationError):
            personal.roll_back()


def test_a_file_that_is_no_store_is_left_alone_until_erased(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
    with Personalizer(bundle, home=tmp_path) as personal:
        assert personal.status.source is Source.BASE_BY_DAMAGE
        assert "not a database" in personal.status.damage
        calls: list[Any] = [
            personal.adapt, personal.roll_back, personal.support, personal.refresh,
            lambda: personal.teach("anna", shots(0)), lambda: personal.forget("anna"),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(errors.StoreDamagedError, match="not a database"):
                call()
        assert (tmp_path / FILE_NAME).read_bytes() == b"not a database" * 100
        personal.erase()
        teach_in_turn(personal, "anna")
        assert personal.version == 1


def test_every_flipped_byte_and_every_truncation_of_a_stored_state_is_noticed(
    tiny_bundle: Path, home: Path
) -> None:
    with Personalizer(tiny_bundle, home=home) as personal:
        teach_in_turn(personal, "anna", "ben")
    store = Store(home)
    columns = ("header", "header_sha256", "data", "data_sha256")
    tried = 0
    with store.transaction():
        db = store.database()
        good = store.generations.read(CURRENT)
        assert good is not None
        assert good.header is not None
        assert good.data is not None
        for column in columns:
            query = f"SELECT {column} FROM generations WHERE role = 0"  # noqa: S608
            (blob,) = db.execute(query).fetchone()
            bad = [blob[:end] for end in range(len(blob))]
            bad += [blob[:i] + bytes([blob[i] ^ 0xFF]) + blob[i + 1 :] for i in range(len(blob))]
            bad += [blob[:i] + bytes([blob[i] ^ 1]) + blob[i + 1 :] for i in range(len(blob))]
            for damaged in [*bad, blob + b"\0"]:
                update = f"UPDATE generations SET {column} = ? WHERE role = 0"  # noqa: S608
                db.execute(update, (damaged,))
                found = store.generations.read(CURRENT)
                assert found is not None
                part = found.header if column.startswith("header") else found.data
                assert part is None
                tried += 1
            db.execute(update, (blob,))
        assert store.generations.read(CURRENT) == good
    store.close()
    assert tried > 1000
