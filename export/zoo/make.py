"""One shipped bundle: trained, or from a checkpoint; exported, measured, described and written."""

from __future__ import annotations

import platform
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edge_sdk import Engine
from edge_sdk.manifest import MODEL_CARD_NAME
from export.bundle_writer import check_target, write_bundle
from export.calibration import fit_calibration
from export.checkpoint import Checkpoint, CheckpointError, read_checkpoint, restore_learner
from export.errors import GateError
from export.evaluate import EvaluateOptions, Evaluation, evaluate
from export.feature_table import feature_table
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from export.pipeline import ExportOptions, export_bundle
from export.recipes import recipe
from export.tasks.base import TEST, TRAIN, VALIDATION, ImagePool
from export.tasks.licences import shippable_licence
from export.train import train
from export.zoo.card import shipped_card

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sdk.manifest import BundleDraft, Json
    from export.progress import Progress
    from export.quantize import Target
    from export.tasks.base import TaskSource
    from export.tasks.functions import ValueSource
    from export.zoo.config import BundlePlan, EvaluationPlan, ZooConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A bundle that was written.

    Attributes:
        path: Its folder.
        digest: Its digest.
        size_bytes: All of its files.
        evaluation: See `export.zoo.card.evaluation_table`.
    """

    path: Path
    digest: str
    size_bytes: int
    evaluation: list[dict[str, Any]]


def make_bundle(
    plan: BundlePlan,
    config: ZooConfig,
    open_source: Callable[[str], TaskSource | ValueSource],
    *,
    checkpoint: Path,
    out: Path,
    as_is: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Made:
    """Make one bundle; a bundle that is at `out` is replaced.

    Args:
        plan: Which.
        config: What holds for all.
        open_source: Opens a source by its name.
        checkpoint: Trained to its end: it is not trained again. Otherwise training goes on from
            it, or starts and writes it. Beside it is that of `plan.start`, if that is needed.
        out: The bundle's folder.
        as_is: Take the best weights so far of a checkpoint whose training is not over.
        progress: Told after each outer step.
        say: Told what is being done.

    Raises:
        CheckpointError: The checkpoint is damaged, or of another learner or other data.
        GateError: The bundle fails a gate of the exporter, or is too large.
        EdgeError: As for `train`, `export_bundle` and `evaluate`.

    On any error `out` is what it was before.
    """
    check_target(out, overwrite=True)
    source = open_source(plan.tasks)
    saved = _trained(plan, config.seed, source, checkpoint, as_is=as_is, progress=progress, say=say)
    learner = restore_learner(checkpoint)
    validation = source.pool(VALIDATION)
    if isinstance(validation, ImagePool):
        fit_calibration(learner, validation)
    options = ExportOptions(
        name=plan.name,
        version=plan.version,
        target=cast("Target", plan.target),
        max_drop=plan.max_drop,
    )
    note = {"seed": saved.run["seed"], "outer_steps": saved.step}
    with tempfile.TemporaryDirectory() as folder:
        say(f"{plan.name}: exporting")
        exported = Path(folder) / "exported"
        export_bundle(learner, source, exported, options, provenance=note)
        engine = Engine(exported)
        found = []
        for each in plan.evaluation:
            say(f"{plan.name}: measuring on {each.tasks}")
            found += _figures(each, engine, open_source(each.tasks), config.seed)
        draft = _described(plan, config, engine, saved, found)
        card = shipped_card(engine.bundle.files[MODEL_CARD_NAME].decode(), draft)
        graphs = {n: data for n, data in engine.bundle.files.items() if n != MODEL_CARD_NAME}
        trial = Path(folder) / "shipped"
        write_bundle(trial, manifest_fields=draft, graphs=graphs, model_card=card)
        size_bytes = folder_bytes(trial)
        if size_bytes > 1000 * config.most_kilobytes:
            msg = (
                f"{plan.name} has {size_bytes / 1000:.0f} kB, allowed {config.most_kilobytes}; "
                "nothing was written. Train a smaller backbone, or raise most_kilobytes"
            )
            raise GateError(msg)
        digest = write_bundle(
            out, manifest_fields=draft, graphs=graphs, model_card=card, overwrite=True
        )
    return Made(path=out, digest=digest, size_bytes=size_bytes, evaluation=found)


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir())


def _trained(
    plan: BundlePlan,
    seed: int,
    source: TaskSource | ValueSource,
    path: Path,
    *,
    as_is: bool,
    progress: Progress | None,
    say: Callable[[str], None],
) -> Checkpoint:
    """What `path` holds in the end."""
    if path.exists():
        saved = read_checkpoint(path)
        if saved.finished is not None or as_is:
            _check_run(plan, source, saved, path)
            say(f"{plan.name}: from a checkpoint of {saved.step} steps")
            return saved
    say(f"{plan.name}: training")
    defaults, pool = recipe(plan.learner, plan.tasks), source.pool(TRAIN)
    learner = make_learner(
        plan.learner,
        LearnerOptions(
            input_shape=pool.input_shape,
            hidden=plan.hidden or defaults.hidden,
            backbone=plan.backbone or defaults.backbone,
            ways=plan.ways,
            steps=defaults.inner_steps,
            settings={**defaults.settings, **plan.set},
            task=pool.task,
            outputs=pool.outputs,
        ),
        seed=seed,
    )
    run = replace(
        defaults.train,
        seed=seed,
        steps=plan.steps or defaults.train.steps,
        outer_lr=plan.outer_lr or defaults.train.outer_lr,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    start = None if plan.start is None else path.with_name(f"{plan.start}.pt")
    train(learner, source, run, start=start, checkpoint=path, progress=progress)
    return read_checkpoint(path)


def _check_run(
    plan: BundlePlan, source: TaskSource | ValueSource, saved: Checkpoint, path: Path
) -> None:
    wanted = {"learner": plan.learner, "tasks": source.name, "tasks_digest": source.digest()}
    other = sorted(name for name, value in wanted.items() if saved.run.get(name) != value)
    if (saved.run.get("start") is None) != (plan.start is None):
        other.append("start")
    if other:
        msg = (
            f"{path.name} is of another run than {plan.name} asks for: {', '.join(other)} differ; "
            "remove it to train again"
        )
        raise CheckpointError(msg)


def _figures(
    plan: EvaluationPlan, engine: Engine, source: TaskSource | ValueSource, seed: int
) -> list[dict[str, Any]]:
    runtime = f"ONNX Runtime {engine.runtime_version}, {platform.machine()}"
    pool, figures = source.pool(TEST), []
    table = feature_table(engine, pool)
    for cell in plan.cells:
        options = EvaluateOptions(
            ways=cell.ways,
            shots=cell.shots,
            queries=plan.queries,
            episodes=plan.episodes,
            protocol=cast("Any", plan.protocol),
            seed=seed,
        )
        found = evaluate(engine, pool, options, table=table)
        figures.append(
            {
                "tasks": source.name,
                "split": TEST,
                "cell": cell.name,
                "episodes": plan.episodes,
                "queries": plan.queries,
                "protocol": plan.protocol,
                "seed": seed,
                "runtime": runtime,
                **_rounded(found),
            }
        )
    return figures


def _rounded(found: Evaluation) -> dict[str, float]:
    values = {
        "accuracy": found.accuracy.mean,
        "half_width": found.accuracy.half_width,
        "ece": found.calibration_error,
        "nll": None if found.nll is None else found.nll.mean,
    }
    return {name: round(value, 6) for name, value in values.items() if value is not None}


def _described(
    plan: BundlePlan,
    config: ZooConfig,
    engine: Engine,
    saved: Checkpoint,
    found: list[dict[str, Any]],
) -> BundleDraft:
    draft = engine.bundle.manifest.draft()
    licence = shippable_licence(plan.tasks)
    provenance: dict[str, Json] = {
        **draft.provenance,
        "licence": config.licence,
        "data": {
            plan.tasks: {
                "licence": licence.name,
                "source": licence.source,
                "about": licence.about,
            }
        },
        "training": saved.run,
        "started_from": plan.start,
        "training_seconds": round(saved.seconds),
        "command": f"edge-sdk export zoo {config.name} --only {plan.name}",
        "evaluation": cast("Json", found),
    }
    return replace(draft, provenance=provenance)
