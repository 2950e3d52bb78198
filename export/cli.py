"""`edge-sdk export`: meta-train a learner into a bundle, evaluate a bundle on unseen classes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from edge_sdk import Bundle
    from export.evaluate import EvaluateOptions, Evaluation
    from export.intervals import Mean
    from export.pipeline import ExportReport
    from export.train_options import TrainReport

app = typer.Typer(
    no_args_is_help=True, help="Meta-train, export and evaluate bundles (server side)."
)

Data = Annotated[
    Path | None,
    typer.Option(
        envvar="EDGE_SDK_DATA", help="Folder with the real data sets.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]


class TargetName(StrEnum):
    """Processor families that the frozen graph can be quantized for."""

    arm64 = "arm64"
    x86 = "x86"
    x86_vnni = "x86-vnni"
    npu = "npu"


class Split(StrEnum):
    """Which classes to draw episodes from."""

    train = "train"
    validation = "validation"
    test = "test"


class Encoding(StrEnum):
    """Numbers of the starting state."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


@app.command()
def train(
    *,
    learner: Annotated[str, typer.Option(help="Name of a learner, such as prototypical.")],
    tasks: Annotated[str, typer.Option(help="glyphs, omniglot or omniglot-lake.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    data: Data = None,
    name: Annotated[
        str | None, typer.Option(help="The bundle's name; default TASKS-LEARNER.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bundle.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Outer steps; default: the recipe's.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Wall-clock budget in place of a number of steps.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Validations without a gain that end training.")
    ] = None,
    ways: Annotated[int, typer.Option(min=2, help="Label slots of the bundle.")] = 32,
    hidden: Annotated[int | None, typer.Option(min=8, help="Channels of the backbone.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=NUMBER, an option of the learner; may be repeated."),
    ] = None,
    target: Annotated[TargetName, typer.Option(help="int8 kernels to suit.")] = TargetName.arm64,
    init_encoding: Annotated[
        Encoding | None,
        typer.Option(help="Starting state; default float16 where nothing is frozen, else float32."),
    ] = None,
    compile_loss: Annotated[
        bool,
        typer.Option("--compile", help="Compile the loss; needs a C++ compiler, for long runs."),
    ] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File to resume from and to write to.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a bundle that is at OUT.")] = False,
    threads: Threads = 2,
    json_output: Json = False,
) -> None:
    """Meta-train a learner, pass the gates, and write a quantized bundle."""
    import torch

    from edge_sdk.errors import InvalidOptionError
    from export.bundle_writer import check_target
    from export.learners.base import LearnerOptions
    from export.learners.registry import make_learner
    from export.pipeline import ExportOptions, export_bundle
    from export.progress import show_progress
    from export.recipes import recipe
    from export.tasks.registry import open_tasks
    from export.train import train as run

    # what can be refused is refused now: training may take an hour
    if out.exists() and not overwrite:
        msg = f"{out} already exists; pass --overwrite to replace it"
        raise InvalidOptionError(msg)
    check_target(out, overwrite=overwrite)
    export_options = ExportOptions(
        name=name or f"{tasks}-{learner}",
        target=target.value,
        init_encoding=None if init_encoding is None else init_encoding.value,
    )
    chosen = dict(_read_setting(text) for text in settings or ())
    torch.set_num_threads(threads)
    source = open_tasks(tasks, data=data, seed=seed)
    defaults = recipe(learner, tasks)
    options = replace(
        defaults.train,
        seed=seed,
        steps=steps or defaults.train.steps,
        minutes=minutes,
        patience=patience,
        compile=compile_loss,
    )
    built = make_learner(
        learner,
        LearnerOptions(
            hidden=hidden or defaults.hidden,
            ways=ways,
            steps=defaults.inner_steps,
            settings={**defaults.settings, **chosen},
        ),
        seed=seed,
    )
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with show_progress() as progress:
        trained = run(built, source, options, checkpoint=checkpoint, progress=progress)
    report = export_bundle(
        built,
        source,
        out,
        export_options,
        provenance={"seed": seed, "outer_steps": trained.steps},
        overwrite=overwrite,
    )
    _show_training(trained, report, json_output=json_output)


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)],
    *,
    tasks: Annotated[str, typer.Option(help="glyphs, digits, omniglot or omniglot-lake.")],
    data: Data = None,
    split: Annotated[Split, typer.Option(help="Classes to draw from.")] = Split.test,
    ways: Annotated[int, typer.Option(min=2, help="Classes in an episode.")] = 5,
    shots: Annotated[int, typer.Option(min=1, help="Support examples of each.")] = 1,
    queries: Annotated[int, typer.Option(min=1, help="Query examples of each.")] = 15,
    episodes: Annotated[
        int, typer.Option(min=2, help="Episodes; the interval is over them.")
    ] = 600,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Inner steps; default: the bundle's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same episodes.")] = 0,
    threads: Threads = 1,
    json_output: Json = False,
) -> None:
    """Few-shot accuracy on unseen classes, through the device runtime, with a 95 % interval."""
    from edge_sdk import Engine
    from export.evaluate import EvaluateOptions
    from export.evaluate import evaluate as run
    from export.progress import show_count
    from export.tasks.registry import open_tasks

    engine = Engine(bundle, threads=threads)
    source = open_tasks(tasks, data=data, seed=seed)
    options = EvaluateOptions(
        ways=ways, shots=shots, queries=queries, episodes=episodes, seed=seed, steps=steps
    )
    with show_count("episodes", episodes) as advance:
        found = run(engine, source.pool(split.value), options, progress=advance)
    _show_evaluation(engine.bundle, tasks, split, options, found, json_output=json_output)


@app.command("compile")
def compile_for_npu(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)],
    *,
    soc: Annotated[list[str], typer.Option(help="Qualcomm SoC, such as SM8650; may be repeated.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the new bundle; default: replace BUNDLE.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Examples in one call of the HTP.")] = 8,
    json_output: Json = False,
) -> None:
    """Compile the frozen graph for Qualcomm NPUs ahead of time, into the bundle."""
    from export.compile_npu import compile_bundle, stdout_kept_clean

    with stdout_kept_clean():
        report = compile_bundle(bundle, socs=soc, out=out, batch=batch)
    if json_output:
        values = {"bundle": str(report.path), "digest": report.digest}
        _print_json({**values, "size_bytes": dict(report.size_bytes)})
        return
    sizes = [(name, f"{size / 1000:.0f} kB") for name, size in report.size_bytes.items()]
    _print_table(str(report.path), [*sizes, ("digest", report.digest[:16])])


def _read_setting(text: str) -> tuple[str, int | float]:
    """`rank=8` -> ("rank", 8)."""
    from edge_sdk.errors import InvalidOptionError

    name, _, value = text.partition("=")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    msg = f"--set takes NAME=NUMBER, got {text!r}"
    raise InvalidOptionError(msg)


def _show_training(trained: TrainReport, report: ExportReport, *, json_output: bool) -> None:
    if json_output:
        _print_json(
            {
                "bundle": str(report.path),
                "digest": report.digest,
                "size_bytes": report.size_bytes,
                "outer_steps": trained.steps,
                "training_seconds": trained.seconds,
                "stopped_by": trained.stopped_by,
                "validation_fp32": _mean(report.fp32),
                "validation_shipped": _mean(report.shipped),
                "quantization_drop": _mean(report.drop),
                "parity": asdict(report.parity),
            }
        )
        return
    _print_table(
        str(report.path),
        [
            ("trained", f"{trained.steps} steps, {trained.seconds:.0f} s ({trained.stopped_by})"),
            ("validation, fp32", _percent(report.fp32)),
            ("validation, as shipped", _percent(report.shipped)),
            ("quantization costs", _percent(report.drop)),
            ("parity, 1 step", f"{report.parity.update_error:.1e}"),
            ("parity, all steps", f"{report.parity.several_error:.1e}"),
            ("size", f"{report.size_bytes / 1000:.0f} kB"),
            ("digest", report.digest[:16]),
        ],
    )


def _show_evaluation(
    bundle: Bundle,
    tasks: str,
    split: Split,
    options: EvaluateOptions,
    found: Evaluation,
    *,
    json_output: bool,
) -> None:
    if json_output:
        _print_json(
            {
                "bundle": bundle.manifest.name,
                "digest": bundle.digest,
                "tasks": tasks,
                "split": split.value,
                **asdict(options),
                "accuracy": _mean(found.accuracy),
                "embed_ms": found.embed_ms,
                "adapt_ms": found.adapt_ms,
                "predict_ms": found.predict_ms,
            }
        )
        return
    _print_table(
        f"{bundle.manifest.name} on {tasks}, {split.value}",
        [
            ("episodes", f"{options.episodes}, {options.ways}-way {options.shots}-shot"),
            ("accuracy", _percent(found.accuracy)),
            ("embed, an image of a batch", f"{found.embed_ms:.3f} ms"),
            ("adapt", f"{found.adapt_ms:.3f} ms"),
            ("predict all queries", f"{found.predict_ms:.3f} ms"),
        ],
    )


def _percent(mean: Mean) -> str:
    return f"{100 * mean.mean:.2f} ± {100 * mean.half_width:.2f} %"


def _mean(mean: Mean) -> dict[Literal["mean", "half_width", "count"], float]:
    return {"mean": mean.mean, "half_width": mean.half_width, "count": mean.count}


def _print_json(values: dict[str, Any]) -> None:
    typer.echo(json.dumps(values, indent=1, sort_keys=True))


def _print_table(title: str, rows: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
