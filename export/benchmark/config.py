"""What a benchmark trains and measures: a TOML file, read strictly.

seed = 0

[[suite]]
tasks = "omniglot"
cells = ["5w1s", "5w5s", "20w1s", "20w5s"]   # or "10s" for a source of values
curve = [1, 2, 5, 10]                        # shots of the learning curve, at 5 ways
trust = ["5w2s", "12w1s"]                    # where else to measure calibration
episodes = 600

[[suite.learner]]
name = "prototypical"

[[suite.learner]]
name = "lora"
label = "lora, rank 8"
steps = 3000
set = { rank = 8 }

[[suite]]
tasks = "unipen"
people = { shots = [1, 3] }                  # in place of cells: see `export.benchmark.people`
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from edge_sdk.errors import InvalidOptionError
from export.benchmark.people import PeopleOptions, read_people
from export.learners.recipe import EPISODES
from export.toml_file import build, of_type, read_toml, tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_CELL = re.compile(r"(?:(\d+)w)?(\d+)s")


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnerPlan:
    """One row of the results.

    Attributes:
        name: Of the learner.
        label: Of the row; the name by default. Two rows of one suite differ in it.
        steps: Outer steps; None: the recipe's.
        minutes: Wall-clock budget in place of steps.
        hidden: Channels of the backbone; None: the recipe's.
        backbone: Name of the backbone; None: the recipe's.
        inner_steps: Inner steps; None: the recipe's.
        outer_lr: Adam's first step size; None: the recipe's.
        start: Label of a row above, whose trunk this one starts with (`export.warm_start`).
        episodes: Training episodes in place of the recipe's: "mixed" ways and shots, so that one
            bundle serves all, or "within-groups", such as alphabets; see `EPISODES`.
        trust: Whether to measure it at the suite's cells of `trust`, which takes long for learners
            that adapt whole networks.
        set: The learner's own options.
        note: What the report says of the row: what was tried, where it stays short.
    """

    name: str
    label: str = ""
    steps: int | None = None
    minutes: float | None = None
    hidden: int | None = None
    backbone: str | None = None
    inner_steps: int | None = None
    outer_lr: float | None = None
    start: str | None = None
    episodes: str = ""
    trust: bool = True
    note: str = ""
    set: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A number of ways and shots; one way stands for a source of values."""

    ways: int
    shots: int

    @property
    def name(self) -> str:
        """As in the file: `5w1s`."""
        return f"{self.ways}w{self.shots}s" if self.ways > 1 else f"{self.shots}s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """Learners that are compared on one source of tasks.

    Attributes:
        tasks: Name of the source.
        learner: The rows.
        cells: Figures that are measured on test classes.
        curve: Shots of the learning curve, at the ways of the first cell; often none.
        trust: Further cells, at which only the calibration of int8 bundles is measured.
        episodes: Test episodes of each figure.
        trust_episodes: The same at the cells of `trust`.
        queries: Queries of a class.
        ways: Label slots of the bundles.
        target: int8 kernels to suit.
        protocol: How test episodes are drawn: "random" or "lake".
        calibrate: Fit the temperature on validation classes.
        four_bit: Whether to measure bundles with 4-bit weights, too, where a network is frozen.
        max_drop: Largest loss of validation accuracy (0..1) by quantization.
        people: Test users are people (`export.benchmark.people`): then there are no cells, and no
            learning curve.
    """

    tasks: str
    learner: tuple[LearnerPlan, ...]
    cells: tuple[Cell, ...]
    curve: tuple[int, ...] = ()
    trust: tuple[Cell, ...] = ()
    episodes: int = 600
    trust_episodes: int = 200
    queries: int = 15
    ways: int = 32
    target: str = "x86"
    protocol: str = "random"
    calibrate: bool = True
    four_bit: bool = False
    max_drop: float = 0.02
    people: PeopleOptions | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkConfig:
    """The whole file."""

    seed: int
    suite: tuple[Suite, ...]


def read_config(path: Path) -> BenchmarkConfig:
    """Read a config file.

    Raises:
        InvalidOptionError: It is not TOML, or a key or value is not as above.
        FileNotFoundError: There is no such file.
    """
    content = read_toml(path, {"seed", "suite"})
    suites = tuple(
        _suite(values, f"{path.name}: suite {i + 1}")
        for i, values in enumerate(tables(content, "suite", path.name))
    )
    return BenchmarkConfig(seed=of_type(content.get("seed", 0), int, "seed"), suite=suites)


def read_configs(paths: Sequence[Path]) -> BenchmarkConfig:
    """Read several config files as one: their suites in order.

    Raises:
        InvalidOptionError: As for `read_config`, or their seeds differ.
        FileNotFoundError: As for `read_config`.
    """
    configs = [read_config(path) for path in paths]
    if len({config.seed for config in configs}) != 1:
        msg = "the config files of one report must have one seed"
        raise InvalidOptionError(msg)
    suites = tuple(suite for config in configs for suite in config.suite)
    return BenchmarkConfig(seed=configs[0].seed, suite=suites)


def _suite(values: dict[str, Any], where: str) -> Suite:
    learners = tuple(
        build(LearnerPlan, table, f"{where}, learner {i + 1}")
        for i, table in enumerate(tables(values, "learner", where))
    )
    learners = tuple(
        LearnerPlan(
            **{f.name: getattr(plan, f.name) for f in fields(plan)}
            | {"label": plan.label or plan.name}
        )
        for plan in learners
    )
    if len({plan.label for plan in learners}) != len(learners):
        msg = f"{where}: two learners have one label; give each its own"
        raise InvalidOptionError(msg)
    for i, plan in enumerate(learners):
        if plan.start is not None and plan.start not in {p.label for p in learners[:i]}:
            msg = f"{where}: {plan.label} starts from {plan.start}, which is no row above it"
            raise InvalidOptionError(msg)
        if plan.episodes not in {"", *EPISODES}:
            msg = f"{where}: {plan.label}: episodes must be one of {', '.join(EPISODES)}"
            raise InvalidOptionError(msg)
    cells = tuple(read_cell(text, where) for text in values.get("cells", ()))
    trust = tuple(read_cell(text, where) for text in values.get("trust", ()))
    if "people" in values:
        values = {**values, "people": read_people(values["people"], f"{where}, people")}
    if bool(cells) == ("people" in values):
        msg = f'{where}: cells must hold at least one, such as "5w1s", or there is [suite.people]'
        raise InvalidOptionError(msg)
    curve = tuple(of_type(shots, int, f"{where}: curve") for shots in values.get("curve", ()))
    built = {"learner": learners, "cells": cells, "curve": curve, "trust": trust}
    return build(Suite, values | built, where)


def read_cell(text: object, where: str) -> Cell:
    """`5w1s`, or `10s` for values.

    Raises:
        InvalidOptionError: It is neither.
    """
    match = _CELL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        msg = f"{where}: a cell is written as 5w1s (or 10s for values)"
        raise InvalidOptionError(msg)
    return Cell(ways=int(match[1] or 1), shots=int(match[2]))
