"""Trains, exports and measures one learner, and never does again what it has done already.

Each row has a folder that is named by a digest of everything that its figures depend on: options,
recipe, data and seed. In it are the training checkpoint, the two bundles and the figures so far,
each of which is reused if it is there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edge_sdk import Engine
from export.baselines import nearest_neighbour
from export.benchmark.people import people_measurements
from export.benchmark.waves import VARIANCE, variance_by_distance
from export.calibration import fit_calibration
from export.evaluate import EvaluateOptions, Evaluation, evaluate
from export.feature_table import feature_table
from export.intervals import mean_interval
from export.learners.base import LearnerOptions
from export.learners.recipe import EPISODES
from export.learners.registry import learner_class, make_learner
from export.pipeline import ExportOptions, export_bundle
from export.recipes import recipe
from export.tasks.base import TEST, TRAIN, VALIDATION, ImagePool
from export.tasks.sampler import EpisodeOptions, EpisodeSampler
from export.to_onnx import export_graphs
from export.train import train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from export.benchmark.config import Cell, LearnerPlan, Suite
    from export.feature_table import FeatureTable
    from export.intervals import Mean
    from export.quantize import Target, WeightBits
    from export.tasks.base import TaskSource
    from export.tasks.functions import ValueSource
    from export.train_options import TrainOptions

CHECKPOINT = "checkpoint.pt"

VARIANTS: Mapping[str, tuple[bool, WeightBits]] = MappingProxyType(
    {"fp32": (False, 8), "int8": (True, 8), "int4": (True, 4)}
)
"""The bundles of a row: whether quantized at all, and bits of the frozen network's weights."""

Figures = dict[str, Any]
"""JSON values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One learner's results.

    Attributes:
        plan: What was asked for.
        folder: Where the checkpoint and the bundles are.
        figures: See `measure`.
    """

    plan: LearnerPlan
    folder: Path
    figures: Figures


def run_row(
    plan: LearnerPlan,
    suite: Suite,
    source: TaskSource | ValueSource,
    *,
    seed: int,
    work: Path,
    start: Row | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Row:
    """Train (or go on), export and measure one learner.

    Args:
        plan: Which.
        suite: What to measure.
        source: The opened source.
        seed: Of weights, training and test episodes.
        work: Folder of all rows.
        start: The row that `plan.start` names.
        say: Told what is being done.

    Raises:
        GateError: The learner's bundle fails a gate.
        EdgeError: As for `train`, `export_bundle` and `evaluate`.
    """
    options, run = _options(plan, suite, source, seed)
    identity = {
        "learner": plan.name,
        "options": asdict(options),
        "defaults": dict(learner_class(plan.name).defaults),
        "train": asdict(run),
        "tasks": source.digest(),
        "suite": [suite.target, suite.calibrate],
        "code": version("edge-sdk"),
    }
    if start is not None:
        identity["start"] = start.folder.name
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    folder = work / f"{suite.tasks}-{plan.name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    results = _Results(folder / "figures.json")
    if not results.has("bundles"):
        say(f"{plan.label}: training")
        results.put("bundles", _make(plan, suite, source, options, run, folder, seed, start))
    asked = suite if plan.trust else replace(suite, trust=())
    for name, make in measurements(asked, source, folder, seed).items():
        if not results.has(name):
            say(f"{plan.label}: {name}")
            results.put(name, make())
    return Row(plan=plan, folder=folder, figures=results.values)


def measurements(
    suite: Suite, source: TaskSource | ValueSource, folder: Path, seed: int
) -> dict[str, Callable[[], Figures]]:
    """Name of each figure, with what measures it. Names hold all that the figure depends on."""
    if suite.people is not None:
        return people_measurements(suite.people, source, Engine(folder / "int8"), seed)
    pool = source.pool(TEST)

    @cache
    def opened(name: str) -> tuple[Engine, FeatureTable | None]:
        engine = Engine(folder / name)
        return engine, feature_table(engine, pool)

    def of(
        bundle: str, cell: Cell, *, episodes: int = suite.episodes, control: str = "none"
    ) -> Callable[[], Figures]:
        options = EvaluateOptions(
            ways=max(cell.ways, 2),
            shots=cell.shots,
            queries=suite.queries,
            episodes=episodes,
            protocol=cast("Any", suite.protocol),
            seed=seed,
            control=cast("Any", control),
        )

        def measure() -> Figures:
            engine, table = opened(bundle)
            return as_json(evaluate(engine, pool, options, table=table))

        return measure

    found = {
        _name(suite, bundle, cell, seed): of(bundle, cell)
        for bundle in VARIANTS
        for cell in suite.cells
        if (folder / bundle).is_dir()
    }
    first = suite.cells[0]
    for shots in suite.curve:
        cell = replace(first, shots=shots)
        found.setdefault(_name(suite, "int8", cell, seed), of("int8", cell))
    for control in ("permuted", "unadapted"):
        found[_name(suite, control, first, seed)] = of("int8", first, control=control)
    for cell in suite.trust:
        found[_name(suite, "trust", cell, seed)] = of("int8", cell, episodes=suite.trust_episodes)
    if not isinstance(pool, ImagePool) and pool.input_shape == (1,):
        waves, learner = pool, Engine(folder / "int8")
        if learner.bundle.manifest.variance:
            found[f"{VARIANCE} {seed}"] = lambda: variance_by_distance(learner, waves, seed)
    return found


def figure(row: Row, suite: Suite, kind: str, cell: Cell, seed: int) -> Figures | None:
    """A figure of a row: `kind` is one of `VARIANTS`, permuted, unadapted or trust."""
    found: Figures | None = row.figures.get(_name(suite, kind, cell, seed))
    return found


def _name(suite: Suite, kind: str, cell: Cell, seed: int) -> str:
    episodes = suite.trust_episodes if kind == "trust" else suite.episodes
    return f"{kind} {cell.name} {episodes}x{suite.queries}/{suite.protocol}/{seed}"


def pixel_baseline(suite: Suite, source: TaskSource | ValueSource, cell: Cell, seed: int) -> Mean:
    """Accuracy of the nearest neighbour in pixels, on the episodes that the learners had."""
    pool = source.pool(TEST)
    options = EpisodeOptions(ways=cell.ways, shots=cell.shots, queries=suite.queries)
    sampler, rng = EpisodeSampler(pool, options), np.random.default_rng(seed)
    accuracies = []
    for _ in range(suite.episodes):
        batch = sampler.draw(rng)
        labels = batch.support_y[0].astype(np.int64)
        support, query = batch.images[batch.support[0]], batch.images[batch.query[0]]
        answers = nearest_neighbour(support, labels, query)
        accuracies.append(float((answers == batch.query_y[0]).mean()))
    return mean_interval(accuracies)


def as_json(found: Evaluation) -> Figures:
    """An evaluation as JSON values."""
    return {
        "accuracy": found.accuracy.mean,
        "half_width": found.accuracy.half_width,
        "episodes": found.accuracy.count,
        "nll": None if found.nll is None else found.nll.mean,
        "ece": found.calibration_error,
        "embed_ms": found.embed_ms,
        "adapt_ms": found.adapt_ms,
        "predict_ms": found.predict_ms,
    }


def _options(
    plan: LearnerPlan, suite: Suite, source: TaskSource | ValueSource, seed: int
) -> tuple[LearnerOptions, TrainOptions]:
    defaults, pool = recipe(plan.name, suite.tasks), source.pool(TRAIN)
    options = LearnerOptions(
        input_shape=pool.input_shape,
        hidden=plan.hidden or defaults.hidden,
        backbone=plan.backbone or defaults.backbone,
        ways=suite.ways,
        steps=plan.inner_steps or defaults.inner_steps,
        settings={**defaults.settings, **plan.set},
        task=pool.task,
        outputs=pool.outputs,
    )
    run = replace(
        defaults.train,
        seed=seed,
        steps=plan.steps or defaults.train.steps,
        outer_lr=plan.outer_lr or defaults.train.outer_lr,
        minutes=plan.minutes,
        episodes=EPISODES[plan.episodes] if plan.episodes else defaults.train.episodes,
    )
    return options, run


def _make(
    plan: LearnerPlan,
    suite: Suite,
    source: TaskSource | ValueSource,
    options: LearnerOptions,
    run: TrainOptions,
    folder: Path,
    seed: int,
    start: Row | None,
) -> Figures:
    """Train, calibrate and write both bundles."""
    learner = make_learner(plan.name, options, seed=seed)
    trained = train(
        learner,
        source,
        run,
        start=None if start is None else start.folder / CHECKPOINT,
        checkpoint=folder / CHECKPOINT,
    )
    validation = source.pool(VALIDATION)
    if suite.calibrate and isinstance(validation, ImagePool):
        fit_calibration(learner, validation)
    sizes, graphs = {}, export_graphs(learner)
    for name, (quantize, weight_bits) in VARIANTS.items():
        if name == "int4" and not (suite.four_bit and learner.has_embed):
            continue
        export = ExportOptions(
            name=f"{suite.tasks}-{plan.name}",
            target=cast("Target", suite.target),
            quantize=quantize,
            weight_bits=weight_bits,
            max_drop=suite.max_drop,
        )
        note = {"seed": seed, "outer_steps": trained.steps}
        report = export_bundle(
            learner,
            source,
            folder / name,
            export,
            graphs=graphs,
            provenance=note,
            overwrite=True,
        )
        sizes[name] = report.size_bytes
    state = learner.init(learner.options.ways)
    return {
        "outer_steps": trained.steps,
        "training_seconds": trained.seconds,
        "start": plan.start,
        "stopped_by": trained.stopped_by,
        "parameters": sum(p.numel() for p in learner.parameters()),
        "bundle_bytes": sizes["int8"],
        "fp32_bundle_bytes": sizes["fp32"],
        "int4_bundle_bytes": sizes.get("int4"),
        "state_bytes": 4 * sum(tensor.numel() for tensor in state.values()),
        "adaptation": learner.adaptation,
    }


class _Results:
    """The figures of one row, on the disk after each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: Figures = json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def has(self, name: str) -> bool:
        return name in self.values

    def put(self, name: str, value: Figures) -> None:
        self.values[name] = value
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self.values, indent=1, sort_keys=True) + "\n", "utf-8")
        partial.replace(self._path)
