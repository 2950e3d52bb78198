"""`edge-sdk export` as a person runs it: a few outer steps, a bundle, an evaluation."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("typer", reason="needs the extra cli")

from typer.testing import CliRunner

from edge_sdk import open_bundle
from edge_sdk.cli.app import app
from export.learners.prototypical import Prototypical
from export.ranks import Ranks
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRAIN = ["export", "train", "--learner", "prototypical", "--tasks", "glyphs", "--threads", "1"]
SMALL = ["--steps", "2", "--hidden", "8", "--ways", "6", "--no-calibrate", "--json"]


@pytest.fixture(autouse=True)
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks in place of glyphs: the command is what is tested, not the generator."""
    monkeypatch.setattr(
        "export.tasks.registry.open_tasks",
        lambda _name, **_kwargs: BlockTasks(classes=140, images_per_class=8),
    )


def test_train_then_evaluate(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    result = CliRunner().invoke(app, [*TRAIN, *SMALL, "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    opened = open_bundle(out)
    assert report["digest"] == opened.digest
    assert report["outer_steps"] == 2
    assert report["validation_shipped"]["count"] == 300
    assert opened.manifest.name == "glyphs-prototypical"

    evaluate = ["export", "evaluate", str(out), "--tasks", "glyphs", "--queries", "4"]
    result = CliRunner().invoke(app, [*evaluate, "--episodes", "5", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["accuracy"]["count"] == 5
    assert (found["tasks"], found["split"], found["digest"]) == ("glyphs", "test", opened.digest)
    assert 0 <= found["accuracy"]["mean"] <= 1

    table = CliRunner().invoke(app, [*evaluate, "--episodes", "5"]).stdout
    assert "5-way 1-shot" in table
    assert "glyphs-prototypical on glyphs, test" in table
    assert "±" in table

    again = CliRunner().invoke(app, [*TRAIN, *SMALL, "--out", str(out)])
    assert again.exit_code == 1
    assert "pass --overwrite" in again.stderr
    assert open_bundle(out).digest == opened.digest


def test_set_reaches_the_learner_and_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Prototypical, "defaults", {"rank": 4, "decay": 0.5})
    out = tmp_path / "bundle"
    chosen = ["--set", "rank=8", "--set", "decay=2", "--out", str(out)]
    result = CliRunner().invoke(app, [*TRAIN, *SMALL, *chosen], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert open_bundle(out).manifest.provenance["settings"] == {"rank": 8, "decay": 2.0}


def test_an_unknown_learner_is_one_clean_line(tmp_path: Path) -> None:
    args = ["export", "train", "--learner", "magic", "--tasks", "glyphs", "--out"]
    result = CliRunner().invoke(app, [*args, str(tmp_path / "b")])
    assert result.exit_code == 1
    assert "magic" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (["--name", "my bundle"], "name must be"),
        (["--overwrite"], "not a bundle folder"),
        (["--learner", "maml", "--hidden", "12"], "multiple of 8"),
        (["--set", "rank=8"], "prototypical has no setting 'rank'"),
        (["--set", "rank=many"], "--set takes NAME=NUMBER, got 'rank=many'"),
    ],
)
def test_what_cannot_be_written_is_refused_before_training(
    wrong: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_training(*_: object, **__: object) -> None:
        pytest.fail("it trains")

    monkeypatch.setattr("export.train.train", no_training)
    out = tmp_path / "out"
    if "--overwrite" in wrong:
        out.mkdir()
        (out / "thesis.tex").write_text("mine")
    result = CliRunner().invoke(app, [*TRAIN, *SMALL, *wrong, "--out", str(out)])
    assert result.exit_code == 1, result.output
    assert complaint in result.stderr


def test_of_several_ranks_only_the_first_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, object]] = []

    @contextmanager
    def second_of_two() -> Iterator[Ranks]:
        yield Ranks(rank=1, size=2)

    monkeypatch.setattr("export.ranks.joined_ranks", second_of_two)
    monkeypatch.setattr("export.train.train", lambda *_, **options: calls.append(options))
    result = CliRunner().invoke(app, [*TRAIN, *SMALL, "--out", str(tmp_path / "bundle")])
    assert result.exit_code == 0, result.output
    assert not result.output
    assert [call["ranks"] for call in calls] == [Ranks(rank=1, size=2)]
    assert calls[0]["progress"] is None
    assert not list(tmp_path.iterdir())


def test_train_signs_what_it_writes_and_refuses_a_wrong_key_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography", reason="needs the extra secure")
    from edge_sdk.signing import SigningKey  # noqa: PLC0415 - an extra
    from tests.support.signing import policy  # noqa: PLC0415

    key = SigningKey.generate()
    key.write(tmp_path / "release.pem")
    out = tmp_path / "bundle"
    arguments = [*TRAIN, *SMALL, "--out", str(out), "--key"]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "release.pem")])
    assert result.exit_code == 0, result.output
    assert open_bundle(out, trust=policy(key)).signed_by == "key0"

    monkeypatch.setattr("export.train.train", lambda *_, **__: pytest.fail("it trains"))
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "release.pem.pub"), "--overwrite"])
    assert result.exit_code == 1
    assert "Ed25519 private key" in result.stderr
