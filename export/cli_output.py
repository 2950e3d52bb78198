"""What `edge-sdk export` prints: a table for people, or one JSON object."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from edge_sdk import Bundle
    from export.evaluate import EvaluateOptions, Evaluation
    from export.intervals import Mean
    from export.pipeline import ExportReport
    from export.train_options import TrainReport


def show_training(trained: TrainReport, report: ExportReport, *, json_output: bool) -> None:
    """Print what training and exporting gave."""
    if json_output:
        print_json(
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
    print_table(
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


def show_evaluation(
    bundle: Bundle,
    tasks: str,
    split: str,
    options: EvaluateOptions,
    found: Evaluation,
    *,
    json_output: bool,
) -> None:
    """Print what an evaluation found."""
    if json_output:
        print_json(
            {
                "bundle": bundle.manifest.name,
                "digest": bundle.digest,
                "tasks": tasks,
                "split": split,
                **asdict(options),
                "accuracy": _mean(found.accuracy),
                "nll": None if found.nll is None else _mean(found.nll),
                "calibration_error": found.calibration_error,
                "embed_ms": found.embed_ms,
                "adapt_ms": found.adapt_ms,
                "predict_ms": found.predict_ms,
            }
        )
        return
    ece = found.calibration_error
    print_table(
        f"{bundle.manifest.name} on {tasks}, {split}",
        [
            ("episodes", f"{options.episodes}, {options.ways}-way {options.shots}-shot"),
            ("accuracy", _percent(found.accuracy)),
            *([] if found.nll is None else [("nll", f"{found.nll.mean:.4f} nats")]),
            *([] if ece is None else [("calibration error (ECE)", f"{100 * ece:.2f} %")]),
            ("embed, an image of a batch", f"{found.embed_ms:.3f} ms"),
            ("adapt", f"{found.adapt_ms:.3f} ms"),
            ("predict all queries", f"{found.predict_ms:.3f} ms"),
        ],
    )


def _percent(mean: Mean) -> str:
    return f"{100 * mean.mean:.2f} ± {100 * mean.half_width:.2f} %"


def _mean(mean: Mean) -> dict[Literal["mean", "half_width", "count"], float]:
    return {"mean": mean.mean, "half_width": mean.half_width, "count": mean.count}


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object."""
    typer.echo(json.dumps(values, indent=1, sort_keys=True))


def print_table(title: str, rows: list[tuple[str, str]]) -> None:
    """Print names and values."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
