"""Training checkpoints: written whole or not at all, read without running any code they hold."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import torch

from edge_sdk.durable import sync_folder, write_new
from edge_sdk.errors import EdgeError
from export.learners.base import LearnerOptions
from export.learners.registry import make_learner

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from export.learners.base import Learner

FORMAT = 2
_MAGIC = b"EDGECKPT"  # and the SHA-256 of all that follows

_DAMAGE = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
"""What `torch.load` raises on files that are not whole."""


class CheckpointError(EdgeError, ValueError):
    """A checkpoint is damaged, not one this version can read, or belongs to another run."""

    code = "checkpoint"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A run at one moment: enough to go on exactly as if it had not stopped.

    Attributes:
        run: What the run is: learner, its options, training options, task source and its digest;
            names to JSON values. A run goes on only from a checkpoint of the same run.
        step: Outer steps taken.
        seconds: Wall time spent.
        weights: The learner's parameters and buffers.
        objective: The objective's own parameters, such as a classifier to be thrown away.
        best_weights: Those of the best validation; None before the first.
        optimizer: Adam's state.
        rng: State of the generator that draws episodes.
        validations: (step, accuracy, loss) of each.
        losses: Training loss of every step.
        finished: Why the run is over; None while it is not.
    """

    run: dict[str, Any]
    step: int
    seconds: float
    weights: dict[str, Tensor]
    objective: dict[str, Tensor]
    best_weights: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    rng: dict[str, Any]
    validations: list[tuple[int, float, float]]
    losses: list[float]
    finished: str | None


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint`; on any failure `path` still holds what it held before."""
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    partial = path.with_name(path.name + ".partial")
    saved = io.BytesIO()
    torch.save({"format": FORMAT, **content}, saved)
    data = saved.getvalue()
    try:
        partial.unlink(missing_ok=True)
        write_new(partial, _MAGIC + hashlib.sha256(data).digest() + data, mode=0o666)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `write_checkpoint` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged or of another format.
    """
    try:
        verified = _verified(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged one may name a deprecated type
            content = torch.load(io.BytesIO(verified), map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        msg = f"{path} is damaged or not a checkpoint"
        raise CheckpointError(msg) from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        msg = f"{path} is not a checkpoint of format {FORMAT}"
        raise CheckpointError(msg)
    if content.keys() != {field.name for field in fields(Checkpoint)}:
        msg = f"{path} lacks a part of a checkpoint, or has one too many"
        raise CheckpointError(msg)
    return Checkpoint(**content)


def _verified(data: bytes) -> bytes:
    """What `torch.load` reads of a file.

    Raises:
        ValueError: It is not what was written.
    """
    digest, content = data[len(_MAGIC) :][:32], data[len(_MAGIC) + 32 :]
    if not data.startswith(_MAGIC) or hashlib.sha256(content).digest() != digest:
        msg = "another digest"
        raise ValueError(msg)
    return content


def describe_learner(learner: Learner) -> dict[str, Any]:
    """What `restore_learner` needs to build the learner again, as JSON values."""
    options = asdict(learner.options)
    return {
        "learner": learner.name,
        "learner_options": {
            **options,
            "input_shape": [*options["input_shape"]],
            # all of them: a default may change in a later version
            "settings": dict(learner.settings),
        },
    }


def restore_learner(path: Path) -> Learner:
    """The learner of a checkpoint with its best weights so far, in eval mode.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, or does not fit the learner that it names.
    """
    checkpoint = read_checkpoint(path)
    try:
        options = dict(checkpoint.run["learner_options"])
        options["input_shape"] = tuple(options["input_shape"])
        learner = make_learner(checkpoint.run["learner"], LearnerOptions(**options), seed=0)
        best = checkpoint.best_weights
        learner.load_state_dict(checkpoint.weights if best is None else best)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        msg = f"{path} does not fit the learner that it names"
        raise CheckpointError(msg) from error
    return learner.eval()
