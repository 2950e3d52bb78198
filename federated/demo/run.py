"""Runs the demo: train, export, personalize, federate."""

from __future__ import annotations

import os
import platform
import shutil
import time
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from edge_sdk import Engine, open_bundle
from edge_sdk.errors import InvalidOptionError
from edge_sdk.manifest import MANIFEST_NAME
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner
from export.pipeline import ExportOptions, export_bundle
from export.tasks.base import TRAIN
from export.to_onnx import export_graphs
from export.train import train
from federated.demo.checks import check_study
from federated.demo.few_shot import draws, run_few_shot
from federated.demo.personal import as_inputs, measure_latency, tell_story
from federated.demo.result import (
    DemoResult,
    ExportResult,
    Pictures,
    StudyResult,
    TrainingResult,
)
from federated.demo.rounds import run_federated
from federated.demo.studies import LEARNER, open_studies
from federated.simulate import embed_images

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from export.learners.base import Learner
    from export.pipeline import ExportReport
    from export.progress import Progress
    from federated.demo.studies import DemoOptions, Study

_PUBLIC_IMAGES = 500
_PICTURED_WRITERS = 4
_PACKAGES = ("edge-sdk", "torch", "numpy")


def run_demo(
    options: DemoOptions,
    work: Path,
    *,
    say: Callable[[str], None],
    show_progress: Callable[[], AbstractContextManager[Progress]],
) -> DemoResult:
    """Run every study that the data allow.

    Args:
        options: The run.
        work: Keeps checkpoint and bundles, in one folder a study. A finished training of the same
            run that is found there is used again; the bundles are written anew.
        say: Told what begins.
        show_progress: Gives something to tell of each training step.

    Raises:
        InvalidOptionError: There are fewer than two seeds.
        GateError: A bundle would not do on the device what it does here.
        EdgeError: As the steps raise.
    """
    if options.seeds < 2:
        msg = f"seeds must be >= 2 for an interval, got {options.seeds}"
        raise InvalidOptionError(msg)
    started, cpu_started = time.perf_counter(), time.process_time()
    studies, notes = open_studies(options)
    results = tuple(
        _run_study(study, options, work / study.name, say, show_progress) for study in studies
    )
    runtime = Engine(work / studies[0].name / "base").runtime_version
    return DemoResult(
        seed=options.seed,
        quick=options.quick,
        studies=results,
        notes=tuple(notes),
        versions={
            **{name: version(name) for name in _PACKAGES},
            "onnxruntime": runtime,
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "processors": str(os.cpu_count()),
            "torch threads": str(torch.get_num_threads()),
        },
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu_started,
    )


def _run_study(
    study: Study,
    options: DemoOptions,
    folder: Path,
    say: Callable[[str], None],
    show_progress: Callable[[], AbstractContextManager[Progress]],
) -> StudyResult:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("labelled", "federated"):
        _remove_bundle(folder / name)
    say(f"{study.name}: meta-training on {study.source.name}")
    learner, trained = _train(study, options, folder, show_progress)
    say(f"{study.name}: exporting, quantizing, checking")
    exported = _export(study, learner, trained, folder / "base")
    base = open_bundle(folder / "base")
    engine = Engine(base)
    say(f"{study.name}: a new user teaches {study.few_shot.ways} classes")
    few_shot = run_few_shot(engine, study.new_user, study.few_shot)
    images = next(iter(draws(study.new_user, study.few_shot)))
    taught = images.support[:, : study.story_shots]
    names = [study.new_user.class_names[c] for c in images.classes]
    homes = folder / "homes"
    shutil.rmtree(homes, ignore_errors=True)
    personal = tell_story(
        base,
        {name: as_inputs(x) for name, x in zip(names, taught, strict=True)},
        {name: as_inputs(x) for name, x in zip(names, images.query, strict=True)},
        homes,
        forget=names[7 % len(names)],
    )
    shutil.rmtree(homes)
    latency = measure_latency(
        engine,
        np.concatenate([as_inputs(x) for x in taught]),
        np.arange(len(names), dtype=np.int64).repeat(study.story_shots),
        repeats=study.latency_repeats,
    )
    say(f"{study.name}: federated rounds")
    federated = run_federated(
        base, study.population, _public_features(study, engine), study.federated, folder
    )
    result = StudyResult(
        name=study.name,
        words=study.words,
        training=trained,
        export=exported,
        few_shot=few_shot,
        personal=personal,
        latency=latency,
        federated=federated,
        checks=(),
        pictures=Pictures(taught=np.swapaxes(taught, 0, 1), written=_written(study)),
    )
    return replace(result, checks=check_study(result))


def _train(
    study: Study,
    options: DemoOptions,
    folder: Path,
    show_progress: Callable[[], AbstractContextManager[Progress]],
) -> tuple[Learner, TrainingResult]:
    chosen = study.recipe
    learner = make_learner(
        LEARNER,
        LearnerOptions(hidden=chosen.hidden, steps=chosen.inner_steps),
        seed=options.seed,
    )
    name = f"checkpoint-seed{options.seed}{'-quick' if options.quick else ''}.pt"
    with show_progress() as progress:
        report = train(
            learner,
            study.source,
            replace(chosen.train, seed=options.seed),
            checkpoint=folder / name,
            progress=progress,
        )
    pool = study.source.pool(TRAIN)
    return learner, TrainingResult(
        learner=LEARNER,
        tasks=study.source.name,
        num_classes=len(pool.class_names),
        num_images=len(pool.images),
        steps=report.steps,
        seconds=report.seconds,
        seed=options.seed,
        validation_accuracy=None if report.best is None else report.best.accuracy,
    )


def _export(study: Study, learner: Learner, trained: TrainingResult, path: Path) -> ExportResult:
    options = ExportOptions(
        name=f"{trained.tasks}-{trained.learner}", accuracy=study.gate, max_drop=study.max_drop
    )
    report: ExportReport = export_bundle(
        learner,
        study.source,
        path,
        options,
        provenance={"seed": trained.seed, "outer_steps": trained.steps},
        overwrite=True,
    )
    return ExportResult(
        parity_update_error=report.parity.update_error,
        parity_logit_error=report.parity.logit_error,
        parity_update_limit=options.gate.update_limit,
        parity_logit_limit=options.gate.logit_limit,
        fp32=report.fp32,
        int8=report.shipped,
        drop=report.drop,
        max_drop=options.max_drop,
        embed_fp32_bytes=len(export_graphs(learner)["embed.onnx"]),
        embed_int8_bytes=len(open_bundle(path).files["embed.onnx"]),
        bundle_bytes=report.size_bytes,
        digest=report.digest,
    )


def _public_features(study: Study, engine: Engine) -> NDArray[np.float32]:
    """Features of training images, from which bounds may be set."""
    return embed_images(engine, study.source.pool(TRAIN).images[:_PUBLIC_IMAGES])


def _written(study: Study) -> NDArray[np.uint8]:
    """An image of each class by a few held-out writers, `[people, classes, 28, 28]`."""
    pool = study.population.held_out
    people = np.unique(pool.users)[:_PICTURED_WRITERS]
    classes = range(len(pool.class_names))
    return np.stack(
        [[pool.images[(pool.users == u) & (pool.classes == c)][0] for c in classes] for u in people]
    )


def _remove_bundle(path: Path) -> None:
    """Remove a bundle of an earlier run; anything else at `path` is left to be refused."""
    if (path / MANIFEST_NAME).is_file():
        shutil.rmtree(path)
