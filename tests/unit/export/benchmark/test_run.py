"""The benchmark on tiny budgets: what it writes, and that nothing is done twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("typer", reason="needs the extra cli")

from typer.testing import CliRunner

from edge_sdk import open_bundle
from edge_sdk.cli.app import app
from export.learners.prototypical import Prototypical
from export.learners.registry import LEARNERS
from tests.support.kinds import LinearValues
from tests.support.tasks import BlockTasks

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
[[suite]]
tasks = "glyphs"
cells = ["5w1s", "10w2s"]
curve = [1, 3]
trust = ["5w1s", "7w2s"]
episodes = 20
queries = 4
four_bit = true
trust_episodes = 20
ways = 12
[[suite.learner]]
name = "prototypical"
steps = 2
hidden = 8
note = "Two steps only."

[[suite]]
tasks = "glyphs"
cells = ["3w1s"]
queries = 4
episodes = 5
ways = 4
[[suite.learner]]
name = "prototypical"
steps = 1
hidden = 8
[[suite.learner]]
name = "prototypical"
label = "wider"
steps = 1
hidden = 16
[[suite.learner]]
name = "retrieval"
steps = 1
hidden = 8

[[suite]]
tasks = "sinusoids"
cells = ["10s"]
episodes = 20
ways = 1
max_drop = 1.0
[[suite.learner]]
name = "linear_values"
steps = 20
"""


@pytest.fixture(autouse=True)
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "export.tasks.registry.open_tasks",
        lambda _name, **_kwargs: BlockTasks(classes=140, images_per_class=9),
    )
    monkeypatch.setattr(Prototypical, "recipes", {})
    monkeypatch.setitem(LEARNERS, LinearValues.name, LinearValues)


def test_a_benchmark_writes_its_report_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, work, out = tmp_path / "c.toml", tmp_path / "work", tmp_path / "docs"
    config.write_text(CONFIG)
    args = ["export", "benchmark", str(config), "--work", str(work), "--out", str(out)]
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    text = (out / "RESULTS.md").read_text()
    for part in (
        "## glyphs", "| prototypical | int8 |", "nearest neighbour in pixels", "What each costs",
        "confidence can be trusted", "Chance is 20 %", "permuted labels", "Learning curves",
        "- prototypical: Two steps only.\n",
        "## sinusoids", "| linear_values |", "How sure away from what was taught",
    ):  # fmt: skip
        assert part in text, part
    for name in ("1-glyphs-curves", "2-glyphs-cost", "3-sinusoids-waves"):
        assert f"(results/{name}.svg)" in text
        assert (out / "results" / f"{name}.svg").read_text().startswith("<?xml")
    assert "1-glyphs-cost" not in text  # one learner compares with nothing
    for label in ("prototypical", "wider", "retrieval"):
        assert f">{label}</text>" in (out / "results" / "2-glyphs-cost.svg").read_text()

    content = json.loads((out / "results.json").read_text())
    images, _, values = content["suites"]
    figures = images["learners"][0]["figures"]
    adapted = figures["int8 5w1s 20x4/random/0"]
    assert adapted["accuracy"] > figures["permuted 5w1s 20x4/random/0"]["accuracy"] + 0.1
    assert figures["unadapted 5w1s 20x4/random/0"]["accuracy"] == pytest.approx(0.2)
    assert 0 <= adapted["ece"] <= 1
    assert "fp32 10w2s 20x4/random/0" in figures
    assert "int8 5w3s 20x4/random/0" in figures
    assert images["pixel_nearest_neighbour"]["5w1s"]["accuracy"] > 0.2
    assert values["learners"][0]["figures"]["int8 10s 20x15/random/0"]["nll"] is not None
    folder = next(path for path in work.iterdir() if "prototypical" in path.name)
    assert open_bundle(folder / "fp32").manifest.quantization["embed"] == "float32"
    assert open_bundle(folder / "int8").manifest.quantization["embed"] == "int8"
    assert "int4" in open_bundle(folder / "int4").manifest.quantization["embed"]
    assert "int4 10w2s 20x4/random/0" in figures
    assert 0 <= figures["trust 7w2s 20x4/random/0"]["ece"] <= 1
    assert "(7w2s)" in text or "(5w1s)" in text

    # all of it is there: nothing is trained or measured again, and the report is the same
    def never(*_: object, **__: object) -> None:
        pytest.fail("it is done again")

    monkeypatch.setattr("export.benchmark.run.train", never)
    monkeypatch.setattr("export.benchmark.run.evaluate", never)
    assert CliRunner().invoke(app, args, catch_exceptions=False).exit_code == 0
    assert (out / "RESULTS.md").read_text() == text

    # a new figure is measured with the bundles that are there
    monkeypatch.undo()
    blocks_again = BlockTasks(classes=140, images_per_class=9)
    monkeypatch.setattr("export.tasks.registry.open_tasks", lambda _n, **_k: blocks_again)
    monkeypatch.setattr(Prototypical, "recipes", {})
    monkeypatch.setitem(LEARNERS, LinearValues.name, LinearValues)
    monkeypatch.setattr("export.benchmark.run.train", never)
    config.write_text(CONFIG.replace('"10w2s"', '"6w2s"'))
    assert CliRunner().invoke(app, args, catch_exceptions=False).exit_code == 0
    assert "6w2s" in (out / "RESULTS.md").read_text()
