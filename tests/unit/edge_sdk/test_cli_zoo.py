"""`edge-sdk zoo`: a list that fits a narrow terminal, JSON for programs, and a copy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("typer", reason="needs the extra cli")

from typer.testing import CliRunner

from edge_sdk import open_bundle, pretrained, pretrained_names
from edge_sdk.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def run(*arguments: str, columns: int = 80) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": str(columns)})


@pytest.mark.parametrize("columns", [50, 60, 200])
def test_the_list_fits_the_terminal_and_shows_everything(columns: int) -> None:
    result = run("zoo", columns=columns)
    assert result.exit_code == 0, result.output
    assert max(len(line.rstrip()) for line in result.output.splitlines()) <= columns
    words = " ".join(result.output.split())
    for name in pretrained_names():
        bundle = pretrained(name)
        assert name in words
        provenance: Any = bundle.manifest.provenance
        first = provenance["evaluation"][0]
        assert f"{100 * first['accuracy']:.2f} ±" in words
        assert f"{bundle.manifest.learner}, up to {bundle.manifest.ways} labels" in words
    assert "float32 [n, 1, 28, 28]: one grey image; ink 1, paper 0" in words
    assert "glyphs (Apache-2.0)" in words


def test_json_has_all_of_it() -> None:
    result = run("zoo", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found) == set(pretrained_names())
    for name, facts in found.items():
        bundle = pretrained(name)
        assert facts["digest"] == bundle.digest
        assert facts["input"]["shape"] == [1, 28, 28]
        assert facts["licence"] == "Apache-2.0"
        assert facts["evaluation"] == bundle.manifest.provenance["evaluation"]
        assert open_bundle(facts["path"]).digest == bundle.digest


def test_copy_makes_a_folder_once(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    result = run("zoo", "copy", "glyphs-prototypical", str(folder))
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(folder)
    assert open_bundle(folder).digest == pretrained("glyphs-prototypical").digest
    again = run("zoo", "copy", "glyphs-prototypical", str(folder))
    assert again.exit_code == 1
    assert "already exists" in again.stderr


def test_an_unknown_name_is_one_clean_line(tmp_path: Path) -> None:
    result = run("zoo", "copy", "magic", str(tmp_path / "model"))
    assert result.exit_code == 1
    assert "there are" in result.stderr
    assert "glyphs-prototypical" in result.stderr
    assert "Traceback" not in result.output
