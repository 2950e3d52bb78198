"""A suite of people: what is measured, chosen, shown and refused. The bundle is a tiny one."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_sdk import open_bundle
from edge_sdk.errors import InvalidOptionError
from export.benchmark.config import read_config
from export.benchmark.people import PRIOR_COUNTS, STEPS, USER_STEPS, PeopleOptions, people_figure
from export.benchmark.suites import run_benchmark
from tests.support.people import SIGNS, HandTasks

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
[[suite]]
tasks = "unipen"
ways = 4
people = { labels = ["dot", "bar", "box"], shots = [1, 2], min_labels = 2, seeds = 2 }
[[suite.learner]]
name = "prototypical"
"""


def options_of(text: str, folder: Path) -> PeopleOptions:
    path = folder / "config.toml"
    path.write_text(text)
    (suite,) = read_config(path).suite
    assert suite.people is not None
    assert suite.cells == ()
    return suite.people


def run(
    text: str, bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, tasks: HandTasks
) -> dict[str, Any]:
    """Run the benchmark with `bundle` in the place of a trained one; the figures of its row."""

    def make(*args: Any) -> dict[str, Any]:
        for name in ("fp32", "int8"):
            shutil.copytree(bundle, args[5] / name)
        return {"adaptation": open_bundle(bundle).manifest.adaptation}

    monkeypatch.setattr("export.benchmark.run._make", make)
    monkeypatch.setattr("export.benchmark.suites.open_any", lambda *_args, **_kwargs: tasks)
    path = folder / "config.toml"
    path.write_text(text)
    run_benchmark(
        read_config(path), data=None, work=folder / "work", out=folder / "out", command="it"
    )
    content = json.loads((folder / "out" / "results.json").read_text())
    figures: dict[str, Any] = content["suites"][0]["learners"][0]["figures"]
    return figures


def test_what_teaching_gives_is_measured_and_shown(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = run(CONFIG, tiny_bundle, tmp_path, monkeypatch, HandTasks(users=4, each=6, size=4))
    options = options_of(CONFIG, tmp_path)
    found = figures[people_figure(options, 0)]
    assert (found["people"], found["labels"]) == (4, 3)
    assert found["unadapted"]["mean"] > 0.8
    for side in ("generic", "personal"):
        assert found[side]["prior_count"] in PRIOR_COUNTS
    assert set(found["shots"]) == {"1", "2"}
    for cell in found["shots"].values():
        assert len(cell["gains"]) == 4
        assert cell["gain"]["mean"] == pytest.approx(np.mean(cell["gains"]), abs=1e-3)
        assert cell["losers"] == np.mean(np.array(cell["gains"]) < 0)
        assert cell["adapted"]["mean"] == pytest.approx(
            found["unadapted"]["mean"] + cell["gain"]["mean"]
        )
    text = (tmp_path / "out" / "RESULTS.md").read_text()
    for part in ("## unipen: personalization to people", "3 labels", "4 people", "| prototypical |",
                 "after 1 and 2 examples a label", "(results/1-unipen-people.svg)"):  # fmt: skip
        assert part in text, part
    assert (tmp_path / "out" / "results" / "1-unipen-people.svg").read_text().startswith("<?xml")
    for folder in tmp_path.glob("work/*/people-*"):
        for name in ("generic", "personal"):
            assert open_bundle(folder / name).manifest.labels == SIGNS


def test_a_gradient_learner_chooses_its_steps(
    tiny_gradient_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CONFIG.replace("prototypical", "anil")
    tasks = HandTasks(users=3, each=4, size=4)
    figures = run(text, tiny_gradient_bundle, tmp_path, monkeypatch, tasks)
    found = figures[people_figure(options_of(text, tmp_path), 0)]
    assert found["personal"]["steps"] in STEPS
    assert found["personal"]["user_steps"] in USER_STEPS
    (folder,) = tmp_path.glob("work/*/people-*/personal")
    assert open_bundle(folder).manifest.steps == found["personal"]["user_steps"]


def test_test_people_choose_nothing(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OtherTest(HandTasks):
        def pool(self, split: str) -> Any:
            return super().pool("train" if split == "test" else split)

    name = people_figure(options_of(CONFIG, tmp_path), 0)
    chosen = []
    for i, kind in enumerate((HandTasks, OtherTest)):
        folder = tmp_path / str(i)
        folder.mkdir()
        found = run(CONFIG, tiny_bundle, folder, monkeypatch, kind(users=4, each=6, size=4))[name]
        chosen.append((found["generic"], found["personal"]))
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("shots = [1, 2]", "shots = 1", "shots has a value of the wrong type"),
        ("shots = [1, 2]", "shots = [1, true]", "shots has a value of the wrong type"),
        ("shots = [1, 2]", "shots = [2, 1]", "shots must be ascending"),
        ('["dot", "bar", "box"]', '"dot"', "labels has a value of the wrong type"),
        ("seeds = 2", "seeds = [2]", "seeds has a value of the wrong type"),
        ("seeds = 2", "per_label = 0", "per_label must be >= 1"),
        ("seeds = 2", "sedes = 2", "no such key: sedes; there are labels"),
        ("ways = 4", 'cells = ["5w1s"]', "cells must hold at least one"),
    ],
)
def test_what_is_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in CONFIG
    with pytest.raises(InvalidOptionError, match=complaint):
        options_of(CONFIG.replace(old, new), tmp_path)


def test_a_label_that_the_source_does_not_have(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CONFIG.replace('"box"', '"ring"')
    with pytest.raises(InvalidOptionError, match="no classes named ring"):
        run(text, tiny_bundle, tmp_path, monkeypatch, HandTasks(size=4))
