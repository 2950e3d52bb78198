"""Which bundles come with the SDK: a TOML file, read strictly.

seed = 0
licence = "Apache-2.0"          # of the bundles
pins = "../edge_sdk/zoo.json"   # where their digests are pinned, seen from this file
most_kilobytes = 400            # of one bundle
most_kilobytes_in_all = 8000

[[bundle]]
name = "glyphs-prototypical"
learner = "prototypical"
tasks = "glyphs"

[[bundle.evaluation]]           # the first one is what it is chosen by
tasks = "glyphs"
cells = ["5w1s", "20w1s"]
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from edge_sdk.errors import InvalidOptionError
from export.benchmark.config import Cell, read_cell
from export.tasks.licences import shippable_licence
from export.toml_file import build, of_type, read_toml, tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationPlan:
    """Figures of a bundle on classes that it never saw.

    Attributes:
        tasks: Name of the source; its split "test" is used.
        cells: Ways and shots.
        episodes: Of each cell.
        queries: Of a class.
        protocol: How episodes are drawn: "random" or "lake".
    """

    tasks: str
    cells: tuple[Cell, ...]
    episodes: int = 600
    queries: int = 15
    protocol: str = "random"


@dataclass(frozen=True, kw_only=True, slots=True)
class BundlePlan:
    """One bundle.

    Attributes:
        name: Of the bundle and its folder.
        learner: Name of the learner.
        tasks: Name of the source that it is trained on.
        evaluation: Its figures.
        version: Raised with every release that ships another one under this name.
        start: A bundle above, whose trunk this one starts with (`export.warm_start`).
        steps: Outer steps; None: the recipe's.
        outer_lr: Adam's first step size; None: the recipe's.
        hidden: Channels of the backbone; None: the recipe's.
        backbone: Name of the backbone; None: the recipe's.
        ways: Label slots.
        set: The learner's own options.
        target: int8 kernels to suit.
        max_drop: Largest loss of validation accuracy (0..1) by quantization.
    """

    name: str
    learner: str
    tasks: str
    evaluation: tuple[EvaluationPlan, ...]
    version: int = 1
    start: str | None = None
    steps: int | None = None
    outer_lr: float | None = None
    hidden: int | None = None
    backbone: str | None = None
    ways: int = 32
    set: Mapping[str, int | float] = field(default_factory=dict)
    target: str = "arm64"
    max_drop: float = 0.005

    def __post_init__(self) -> None:
        shippable_licence(self.tasks)


@dataclass(frozen=True, kw_only=True, slots=True)
class ZooConfig:
    """The whole file.

    Attributes:
        name: Of the file and the folder that it is in.
        licence: Of the bundles, as SPDX writes it.
        seed: Of weights, training and test episodes.
        pins: The file with the digests, absolute.
        most_kilobytes: Of one bundle, in 1000 bytes.
        most_kilobytes_in_all: Of all of them.
        bundle: The bundles.
    """

    name: str
    licence: str
    pins: Path
    most_kilobytes: int
    most_kilobytes_in_all: int
    bundle: tuple[BundlePlan, ...]
    seed: int = 0


def read_config(path: Path) -> ZooConfig:
    """Read a config file.

    Raises:
        InvalidOptionError: It is not TOML, a key or value is not as above, or a bundle is to be
            trained on data whose licence is not known to let it be given away.
        FileNotFoundError: There is no such file.
    """
    path = path.resolve()
    content = read_toml(path, {f.name for f in fields(ZooConfig)} - {"name"})
    plans = tuple(
        _bundle(values, f"{path.name}: bundle {i + 1}")
        for i, values in enumerate(tables(content, "bundle", path.name))
    )
    if len({plan.name for plan in plans}) != len(plans):
        msg = f"{path.name}: two bundles have one name"
        raise InvalidOptionError(msg)
    for i, plan in enumerate(plans):
        if plan.start is not None and plan.start not in {p.name for p in plans[:i]}:
            msg = f"{path.name}: {plan.name} starts from {plan.start}, which is no bundle above it"
            raise InvalidOptionError(msg)
    pins = of_type(content.get("pins"), str, f"{path.name}: pins")
    given = {
        **content,
        "name": f"{path.parent.name}/{path.name}",
        "bundle": plans,
        "pins": (path.parent / pins).resolve(),
    }
    return build(ZooConfig, given, path.name)


def _bundle(values: dict[str, Any], where: str) -> BundlePlan:
    evaluation = tuple(
        _evaluation(table, f"{where}, evaluation {i + 1}")
        for i, table in enumerate(tables(values, "evaluation", where))
    )
    return build(BundlePlan, {**values, "evaluation": evaluation}, where)


def _evaluation(values: dict[str, Any], where: str) -> EvaluationPlan:
    cells = tuple(read_cell(text, where) for text in values.get("cells", ()))
    if not cells:
        msg = f'{where}: cells must hold at least one, such as "5w1s"'
        raise InvalidOptionError(msg)
    return build(EvaluationPlan, {**values, "cells": cells}, where)
