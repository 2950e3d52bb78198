"""What a zoo's file may say, and that ours says what it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_sdk.errors import InvalidOptionError
from edge_sdk.zoo import pretrained_names
from export.benchmark.config import Cell
from export.learners.registry import learner_class
from export.tasks.licences import SHIPPABLE, shippable_licence
from export.tasks.registry import SOURCES
from export.zoo.config import read_config

ROOT = Path(__file__).parents[4]
OURS = ROOT / "bundles" / "zoo.toml"
GOOD = """
licence = "Apache-2.0"
pins = "../pins.json"
most_kilobytes = 400
most_kilobytes_in_all = 8000
seed = 3

[[bundle]]
name = "first"
learner = "prototypical"
tasks = "glyphs"
steps = 50
set = { rank = 8 }

[[bundle.evaluation]]
tasks = "glyphs"
cells = ["5w1s", "20w5s"]
queries = 5

[[bundle.evaluation]]
tasks = "omniglot-lake"
cells = ["20w1s"]
protocol = "lake"

[[bundle]]
name = "second"
learner = "anil"
tasks = "omniglot-lake"
start = "first"

[[bundle.evaluation]]
tasks = "omniglot-lake"
cells = ["5w1s"]
"""


def write(folder: Path, text: str) -> Path:
    (folder / "bundles").mkdir()
    path = folder / "bundles" / "zoo.toml"
    path.write_text(text)
    return path


def test_what_the_file_says(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, GOOD))
    assert (config.name, config.licence, config.seed) == ("bundles/zoo.toml", "Apache-2.0", 3)
    assert config.pins == tmp_path.resolve() / "pins.json"
    first, second = config.bundle
    assert (first.name, first.steps, first.set, first.target) == (
        "first", 50, {"rank": 8}, "arm64",
    )  # fmt: skip
    assert first.evaluation[0].cells == (Cell(ways=5, shots=1), Cell(ways=20, shots=5))
    assert (first.evaluation[0].queries, first.evaluation[0].episodes) == (5, 600)
    assert first.evaluation[1].protocol == "lake"
    assert (second.learner, second.tasks, second.steps) == ("anil", "omniglot-lake", None)
    assert (first.start, second.start) == (None, "first")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("seed = 3", "sede = 3", "no such key: sede"),
        ('pins = "../pins.json"', "", "pins has a value of the wrong type"),
        ('licence = "Apache-2.0"', "", "lacks licence"),
        ("most_kilobytes = 400", 'most_kilobytes = "400"', "wrong type, str"),
        ('name = "second"', 'name = "first"', "two bundles have one name"),
        ('learner = "anil"', "", "bundle 2 lacks learner"),
        ("steps = 50", 'start = "second"', "first starts from second, which is no bundle above"),
        ("steps = 50", "step = 50", "bundle 1: no such key: step"),
        ('"20w5s"', '"20x5"', "written as 5w1s"),
        ('cells = ["5w1s", "20w5s"]', "cells = []", "evaluation 1: cells must hold at least one"),
        ('protocol = "lake"', 'protocl = "lake"', "evaluation 2: no such key: protocl"),
    ],
)
def test_what_is_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    with pytest.raises(InvalidOptionError, match=complaint):
        read_config(write(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize("tasks", ["unipen", "digits", "sinusoids", "cifar"])
def test_data_that_may_not_be_given_away_trains_no_bundle(tmp_path: Path, tasks: str) -> None:
    forbidden = GOOD.replace(
        'learner = "anil"\ntasks = "omniglot-lake"',
        f'''learner = "anil"
tasks = "{tasks}"''',
    )
    assert forbidden != GOOD
    with pytest.raises(InvalidOptionError, match=f"trained on {tasks} is not given away"):
        read_config(write(tmp_path, forbidden))


def test_a_cut_of_a_source_has_its_licence() -> None:
    assert shippable_licence("omniglot-lake") is SHIPPABLE["omniglot"]
    assert set(SHIPPABLE) <= set(SOURCES)


def test_our_own_file_names_what_exists_and_is_what_is_shipped() -> None:
    config = read_config(OURS)
    assert config.pins == ROOT / "edge_sdk" / "zoo.json"
    assert (config.most_kilobytes, config.most_kilobytes_in_all) == (400, 8000)
    for plan in config.bundle:
        assert set(plan.set) <= set(learner_class(plan.learner).defaults)
        assert plan.target == "arm64"
        assert plan.evaluation[0].tasks == plan.tasks
        assert {each.tasks for each in plan.evaluation} <= set(SOURCES)
        assert all(each.episodes >= 600 for each in plan.evaluation)
    assert {plan.name for plan in config.bundle} == set(pretrained_names())
