"""Making a zoo: trained once, measured on unseen classes, described and pinned."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("typer", reason="needs the extra cli")

from typer.testing import CliRunner

from edge_sdk import Engine, open_bundle
from edge_sdk.cli.app import app
from edge_sdk.errors import InvalidOptionError
from export.checkpoint import read_checkpoint, write_checkpoint
from export.errors import GateError
from export.evaluate import EvaluateOptions, evaluate
from export.learners.prototypical import Prototypical
from export.zoo.config import read_config
from export.zoo.index import write_index
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

CONFIG = """
licence = "Apache-2.0"
pins = "../pins.json"
most_kilobytes = 100
most_kilobytes_in_all = 150

[[bundle]]
name = "blocks-prototypical"
learner = "prototypical"
tasks = "glyphs"
version = 4
steps = 2
hidden = 8
ways = 12
max_drop = 1.0

[[bundle.evaluation]]
tasks = "glyphs"
cells = ["5w1s", "10w2s"]
episodes = 20
queries = 4
"""
NAME = "blocks-prototypical"
TASKS = BlockTasks(classes=140, images_per_class=9)


@pytest.fixture(scope="module", autouse=True)
def blocks() -> Iterator[None]:
    """Blocks in place of glyphs: the command is what is tested, not the generator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.tasks.registry.open_tasks", lambda _name, **_kwargs: TASKS)
        patch.setattr(Prototypical, "recipes", {})
        yield


def make(folder: Path, *arguments: str, config: str = CONFIG) -> Result:
    (folder / "bundles").mkdir(exist_ok=True)
    (folder / "bundles" / "zoo.toml").write_text(config)
    path = str(folder / "bundles" / "zoo.toml")
    args = ["export", "zoo", path, "--checkpoints", str(folder / "work"), "--threads", "1"]
    return CliRunner().invoke(app, [*args, *arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    result = make(folder)
    assert result.exit_code == 0, result.output
    assert f"{NAME}: training" in result.stderr
    return folder


def test_the_bundle_says_what_was_measured_and_how_it_was_made(made: Path) -> None:
    bundle = open_bundle(made / "bundles" / NAME)
    manifest, card = bundle.manifest, bundle.files["MODEL_CARD.md"].decode()
    assert (manifest.name, manifest.version) == (NAME, 4)
    of: Any = manifest.provenance
    assert of["data"].keys() == {"glyphs"}
    assert of["tasks"] == {"blocks": TASKS.digest()}
    assert (of["outer_steps"], of["training"]["steps"]) == (2, 2)
    first, second = of["evaluation"]
    assert (first["cell"], second["cell"]) == ("5w1s", "10w2s")
    options = EvaluateOptions(ways=5, shots=1, queries=4, episodes=20, seed=0)
    want = evaluate(Engine(bundle), TASKS.pool("test"), options)
    assert first["accuracy"] == round(want.accuracy.mean, 6)
    assert first["half_width"] == round(want.accuracy.half_width, 6)
    shown = f"{100 * want.accuracy.mean:.2f} ± {100 * want.accuracy.half_width:.2f} %"
    assert f"| blocks, test | 20 of 5w1s, 4 queries a class | {shown} |" in card
    assert f"edge-sdk export zoo bundles/zoo.toml --only {NAME}" in card


def test_it_is_pinned_and_listed(made: Path) -> None:
    pins = json.loads((made / "pins.json").read_text())
    assert pins == {NAME: open_bundle(made / "bundles" / NAME).digest}
    readme = (made / "bundles" / "README.md").read_text()
    assert f"[{NAME}]({NAME}/MODEL_CARD.md)" in readme
    assert "Apache-2.0" in (made / "bundles" / "NOTICE").read_text()
    left = sorted(p.name for p in (made / "bundles").iterdir())
    assert left == ["NOTICE", "README.md", NAME, "zoo.toml"]


def test_a_checkpoint_that_is_trained_out_gives_the_same_bundle(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p: p.read_bytes() for p in made.rglob("*") if p.is_file()}
    monkeypatch.setattr("export.zoo.make.train", lambda *_, **__: pytest.fail("it trains"))
    result = make(made, "--only", NAME)
    assert result.exit_code == 0, result.output
    assert f"{NAME}: from a checkpoint of 2 steps" in result.stderr
    assert {p: p.read_bytes() for p in made.rglob("*") if p.is_file()} == before


def test_a_checkpoint_of_a_run_under_way_goes_on_or_is_taken_as_it_is(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = read_checkpoint(made / "work" / f"{NAME}.pt")
    (tmp_path / "work").mkdir()
    parts = {name: getattr(saved, name) for name in saved.__slots__}
    write_checkpoint(tmp_path / "work" / f"{NAME}.pt", type(saved)(**{**parts, "finished": None}))
    trained: list[object] = []
    monkeypatch.setattr("export.zoo.make.train", lambda *_, **__: trained.append("on"))

    def stop(*_: object, **__: object) -> None:
        raise GateError(NAME)

    monkeypatch.setattr("export.zoo.make.export_bundle", stop)
    assert make(tmp_path).exit_code == 1
    assert trained == ["on"]
    result = make(tmp_path, "--as-is")
    assert f"{NAME}: from a checkpoint of 2 steps" in result.stderr
    assert trained == ["on"]


def test_another_run_s_checkpoint_is_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / f"{NAME}.pt").write_bytes((made / "work" / f"{NAME}.pt").read_bytes())
    config = CONFIG.replace('learner = "prototypical"', 'learner = "ridge"')
    result = make(tmp_path, config=config)
    assert result.exit_code == 1
    assert "of another run than blocks-prototypical asks for: learner differ" in result.stderr
    assert sorted(p.name for p in (tmp_path / "bundles").iterdir()) == ["zoo.toml"]


def test_a_start_that_is_named_is_started_from(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []

    def train(*_: object, start: object, **__: object) -> None:
        started.append(start)
        raise GateError(NAME)

    monkeypatch.setattr("export.zoo.make.train", train)
    second = CONFIG.partition("[[bundle]]")[2].replace(NAME, "second")
    config = f"{CONFIG}\n[[bundle]]{second}".replace(
        'name = "second"', f'name = "second"\nstart = "{NAME}"'
    )
    make(tmp_path, "--only", "second", config=config)
    make(tmp_path, "--only", NAME, config=config)
    assert started == [tmp_path / "work" / f"{NAME}.pt", None]
    trained = (made / "work" / f"{NAME}.pt").read_bytes()  # but not started from another one
    (tmp_path / "work" / "second.pt").write_bytes(trained)
    result = make(tmp_path, "--only", "second", config=config)
    assert "of another run than second asks for: start differ" in result.stderr


def test_a_bundle_that_is_too_large_is_not_written(made: Path) -> None:
    before = {p: p.read_bytes() for p in made.rglob("*") if p.is_file() and p.suffix != ".toml"}
    config = CONFIG.replace("most_kilobytes = 100", "most_kilobytes = 5")
    result = make(made, config=config)
    assert result.exit_code == 1
    assert "allowed 5; nothing was written" in result.stderr
    after = {p: p.read_bytes() for p in made.rglob("*") if p.is_file() and p.suffix != ".toml"}
    assert after == before


def test_what_is_too_large_together_or_not_named_is_not_pinned(made: Path) -> None:
    config_file = made / "bundles" / "zoo.toml"
    pins = (made / "pins.json").read_bytes()
    config_file.write_text(CONFIG.replace("in_all = 150", "in_all = 5"))
    with pytest.raises(ValueError, match="allowed 5; they are not pinned"):
        write_index(read_config(config_file), made / "bundles")
    config_file.write_text(CONFIG)
    (made / "bundles" / "stray").mkdir()
    with pytest.raises(InvalidOptionError, match="does not name stray"):
        write_index(read_config(config_file), made / "bundles")
    (made / "bundles" / "stray").rmdir()
    assert (made / "pins.json").read_bytes() == pins


def test_a_name_that_is_not_in_the_file_is_refused_first(tmp_path: Path) -> None:
    result = make(tmp_path, "--only", "magic")
    assert result.exit_code == 1
    assert f"bundles/zoo.toml has no bundle magic; it has {NAME}" in result.stderr
