"""`edge-sdk export`: meta-train a learner into a bundle, evaluate a bundle on unseen classes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from export.benchmark.cli import benchmark
from export.cli_options import (
    Control,
    Data,
    Encoding,
    Json,
    Key,
    Protocol,
    Split,
    TargetName,
    Threads,
    Weights,
)
from export.cli_output import print_json, print_table, show_evaluation, show_training
from export.zoo.cli import zoo

if TYPE_CHECKING:
    from edge_sdk.signing import SigningKey

app = typer.Typer(
    no_args_is_help=True, help="Meta-train, export and evaluate bundles (server side)."
)


@app.command()
def train(
    *,
    learner: Annotated[str, typer.Option(help="Name of a learner, such as prototypical.")],
    tasks: Annotated[
        str, typer.Option(help="glyphs, omniglot, omniglot-lake, unipen or sinusoids.")
    ],
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
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Frozen backbone: conv4, conv4-groupnorm, resnet-lite or resnet-lite-shifts."
        ),
    ] = None,
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
    weights: Annotated[
        Weights | None,
        typer.Option(help="Large weights of adapt.onnx and predict.onnx; default: the learner's."),
    ] = None,
    weight_bits: Annotated[int, typer.Option(help="Weights of embed.onnx: 8 or 4 bits.")] = 8,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint of another learner, whose backbone to start with.",
            show_default=False,
        ),
    ] = None,
    outer_lr: Annotated[
        float | None, typer.Option(help="First step size of training; default: the recipe's.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File to resume from and to write to.", show_default=False)
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where to train: cpu, cuda or cuda:N; with torchrun one GPU each.")
    ] = "cpu",
    mixed_precision: Annotated[
        bool,
        typer.Option("--mixed-precision", help="Embed training images in bfloat16, for GPUs."),
    ] = False,
    calibrate: Annotated[
        bool, typer.Option(help="Fit how confident predictions are, on validation classes.")
    ] = True,
    overwrite: Annotated[bool, typer.Option(help="Replace a bundle that is at OUT.")] = False,
    key: Key = None,
    threads: Threads = 2,
    json_output: Json = False,
) -> None:
    """Meta-train a learner, pass the gates, and write a quantized bundle."""
    import torch

    from edge_sdk.errors import InvalidOptionError
    from export.allocator import keep_freed_memory
    from export.bundle_writer import check_target
    from export.calibration import fit_calibration
    from export.learners.base import LearnerOptions
    from export.learners.registry import make_learner
    from export.pipeline import ExportOptions, export_bundle
    from export.placement import Placement
    from export.progress import show_progress
    from export.quantize import check_bits
    from export.ranks import joined_ranks
    from export.recipes import recipe
    from export.tasks.base import TRAIN, VALIDATION, ImagePool
    from export.tasks.registry import open_any
    from export.train import train as run

    # what can be refused is refused now: training may take an hour
    signing_key = _signing_key(key)
    if out.exists() and not overwrite:
        msg = f"{out} already exists; pass --overwrite to replace it"
        raise InvalidOptionError(msg)
    check_target(out, overwrite=overwrite)
    export_options = ExportOptions(
        name=name or f"{tasks}-{learner}",
        target=target.value,
        init_encoding=None if init_encoding is None else init_encoding.value,
        weights=None if weights is None else weights.value,
        weight_bits=check_bits(weight_bits),
    )
    placement = Placement.named(device, mixed_precision=mixed_precision)
    chosen = dict(_read_setting(text) for text in settings or ())
    torch.set_num_threads(threads)
    keep_freed_memory()
    source = open_any(tasks, data=data, seed=seed)
    pool = source.pool(TRAIN)
    defaults = recipe(learner, tasks)
    options = replace(
        defaults.train,
        seed=seed,
        steps=steps or defaults.train.steps,
        outer_lr=outer_lr or defaults.train.outer_lr,
        minutes=minutes,
        patience=patience,
        compile=compile_loss,
    )
    built = make_learner(
        learner,
        LearnerOptions(
            hidden=hidden or defaults.hidden,
            backbone=backbone or defaults.backbone,
            ways=ways,
            steps=defaults.inner_steps,
            settings={**defaults.settings, **chosen},
            input_shape=pool.input_shape,
            task=pool.task,
            outputs=pool.outputs,
        ),
        seed=seed,
    )
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with joined_ranks() as ranks, show_progress() if ranks.is_first else nullcontext() as progress:
        trained = run(
            built,
            source,
            options,
            start=start,
            checkpoint=checkpoint,
            progress=progress,
            ranks=ranks,
            placement=placement,
        )
    if not ranks.is_first:  # the first one exports
        return
    if calibrate and isinstance(validation := source.pool(VALIDATION), ImagePool):
        fit_calibration(built, validation)
    report = export_bundle(
        built,
        source,
        out,
        export_options,
        provenance={"seed": seed, "outer_steps": trained.steps},
        overwrite=overwrite,
        key=signing_key,
    )
    show_training(trained, report, json_output=json_output)


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)],
    *,
    tasks: Annotated[
        str,
        typer.Option(help="glyphs, digits, omniglot, omniglot-lake, unipen or sinusoids."),
    ],
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
    protocol: Annotated[
        Protocol, typer.Option(help="lake: Lake's one-shot task, in omniglot-lake.")
    ] = Protocol.random,
    control: Annotated[
        Control, typer.Option(help="What to hold against the learner, which should then guess.")
    ] = Control.none,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same episodes.")] = 0,
    threads: Threads = 1,
    json_output: Json = False,
) -> None:
    """Few-shot accuracy on unseen classes, through the device runtime, with a 95 % interval."""
    from edge_sdk import Engine
    from export.evaluate import EvaluateOptions
    from export.evaluate import evaluate as run
    from export.progress import show_count
    from export.tasks.registry import open_any

    engine = Engine(bundle, threads=threads)
    source = open_any(tasks, data=data, seed=seed)
    options = EvaluateOptions(
        ways=ways,
        shots=shots,
        queries=queries,
        episodes=episodes,
        seed=seed,
        steps=steps,
        protocol=protocol.value,
        control=control.value,
    )
    with show_count("episodes", episodes) as advance:
        found = run(engine, source.pool(split.value), options, progress=advance)
    show_evaluation(engine.bundle, tasks, split.value, options, found, json_output=json_output)


@app.command()
def probe(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle that names its labels.", show_default=False)
    ],
    *,
    tasks: Annotated[str, typer.Option(help="A source with classes of these names.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    data: Data = None,
    split: Annotated[Split, typer.Option(help="Images to draw from.")] = Split.validation,
    per_label: Annotated[int, typer.Option(min=1, help="Images of each label.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same images.")] = 0,
) -> None:
    """Add examples on which a user's state must not get worse: the guardrail's probe set."""
    import numpy as np

    from edge_sdk import open_bundle
    from export.probe_set import add_probe_set
    from export.tasks.registry import open_tasks

    pool = open_tasks(tasks, data=data, seed=seed).pool(split.value)
    rng = np.random.default_rng(seed)
    digest = add_probe_set(out, open_bundle(bundle), pool, per_label=per_label, rng=rng)
    typer.echo(f"{out}: a probe set, digest {digest}")


app.command()(benchmark)
app.command()(zoo)


@app.command("compile")
def compile_for_npu(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)],
    *,
    soc: Annotated[list[str], typer.Option(help="Qualcomm SoC, such as SM8650; may be repeated.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the new bundle; default: replace BUNDLE.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Examples in one call of the HTP.")] = 8,
    key: Key = None,
    json_output: Json = False,
) -> None:
    """Compile the frozen graph for Qualcomm NPUs ahead of time, into the bundle."""
    from export.compile_npu import compile_bundle, stdout_kept_clean

    signing_key = _signing_key(key)
    with stdout_kept_clean():
        report = compile_bundle(bundle, socs=soc, out=out, batch=batch, key=signing_key)
    if json_output:
        values = {"bundle": str(report.path), "digest": report.digest}
        print_json({**values, "size_bytes": dict(report.size_bytes)})
        return
    sizes = [(name, f"{size / 1000:.0f} kB") for name, size in report.size_bytes.items()]
    print_table(str(report.path), [*sizes, ("digest", report.digest[:16])])


def _signing_key(path: Path | None) -> SigningKey | None:
    """The key to sign with; read before the work, so that a wrong one costs no time."""
    from edge_sdk.signing import SigningKey

    return None if path is None else SigningKey.read(path)


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
