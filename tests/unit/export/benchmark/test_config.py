"""The benchmark's config file: what it says, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_sdk.errors import InvalidOptionError
from export.benchmark.config import Cell, read_config, read_configs
from export.learners.registry import LEARNERS, learner_class
from export.tasks.registry import SOURCES, VALUE_SOURCES

CONFIGS = sorted((Path(__file__).parents[4] / "benchmarks" / "learners").glob("*.toml"))

GOOD = """
seed = 3
[[suite]]
tasks = "glyphs"
cells = ["5w1s", "20w5s"]
curve = [1, 2]
episodes = 50
[[suite.learner]]
name = "prototypical"
[[suite.learner]]
name = "lora"
label = "lora, rank 8"
minutes = 2
episodes = "mixed"
set = { rank = 8 }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_what_the_file_says(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, GOOD))
    (suite,) = config.suite
    assert (config.seed, suite.tasks, suite.curve, suite.episodes) == (3, "glyphs", (1, 2), 50)
    assert suite.cells == (Cell(ways=5, shots=1), Cell(ways=20, shots=5))
    assert [cell.name for cell in suite.cells] == ["5w1s", "20w5s"]
    first, second = suite.learner
    assert (first.label, first.steps, first.episodes) == ("prototypical", None, "")
    assert (second.label, second.minutes, second.episodes) == ("lora, rank 8", 2, "mixed")
    assert second.set == {"rank": 8}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("seed = 3", "seed = ", "not TOML"),
        ("seed = 3", "sede = 3", "no such key: sede"),
        ("seed = 3", "seed = true", "wrong type, bool"),
        ("episodes = 50", "episode = 50", "suite 1: no such key: episode"),
        ("episodes = 50", 'episodes = "50"', "episodes has a value of the wrong type, str"),
        ('"5w1s"', '"5x1"', "written as 5w1s"),
        ('cells = ["5w1s", "20w5s"]', "", "at least one"),
        ('tasks = "glyphs"', "", "lacks tasks"),
        ('name = "lora"', "", "learner 2 lacks name"),
        ('label = "lora, rank 8"', 'label = "prototypical"', "two learners have one label"),
        ("minutes = 2", 'start = "ridge"', "starts from ridge, which is no row above it"),
        ("minutes = 2", 'start = "lora, rank 8"', "which is no row above it"),
        ('"mixed"', '"hard"', "lora, rank 8: episodes must be one of mixed, within-groups"),
        ("minutes = 2", "mintues = 2", "learner 2: no such key: mintues"),
    ],
)
def test_what_is_refused(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    with pytest.raises(InvalidOptionError, match=complaint):
        read_config(write(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_our_own_configs_name_learners_sources_and_settings_that_exist(path: Path) -> None:
    for suite in read_config(path).suite:
        assert suite.tasks in {*SOURCES, *VALUE_SOURCES}
        for plan in suite.learner:
            assert set(plan.set) <= set(learner_class(plan.name).defaults)


def test_one_config_has_every_learner_on_omniglot() -> None:
    (path,) = [path for path in CONFIGS if path.name == "omniglot.toml"]
    suite = read_config(path).suite[0]
    assert {plan.name for plan in suite.learner} == set(LEARNERS)
    assert {cell.name for cell in suite.cells} == {"5w1s", "5w5s", "20w1s", "20w5s"}
    assert suite.curve == (1, 2, 5, 10)
    assert suite.episodes >= 600


def test_files_are_joined_in_their_order_and_must_have_one_seed(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.toml", "b.toml", "c.toml")]
    for path, seed, shots in zip(paths, (3, 3, 4), (1, 2, 3), strict=True):
        path.write_text(
            f'seed = {seed}\n[[suite]]\ntasks = "glyphs"\ncells = ["5w{shots}s"]\n'
            '[[suite.learner]]\nname = "prototypical"\n'
        )
    both = read_configs(paths[:2])
    assert both.seed == 3
    assert [suite.cells[0].name for suite in both.suite] == ["5w1s", "5w2s"]
    with pytest.raises(InvalidOptionError, match="one seed"):
        read_configs(paths)
