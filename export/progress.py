"""Shows a training run: a bar in a terminal, now and then a line elsewhere."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from edge_sdk.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SMOOTHING = 0.95
_LINES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainEvent:
    """What the trainer says after each outer step.

    Attributes:
        step: Outer steps taken.
        fraction: Part of the run that is done, 0..1.
        loss: Query loss of this step, in nats.
        accuracy: Query accuracy of this step, 0..1.
        seconds_left: Estimate for the rest of the run.
        validation_accuracy: Of the newest validation, 0..1; None before the first.
    """

    step: int
    fraction: float
    loss: float
    accuracy: float
    seconds_left: float
    validation_accuracy: float | None


class Progress(Protocol):
    """Anything that wants to hear of each step."""

    def __call__(self, event: TrainEvent) -> None:
        """Take note of `event`."""


class _Smooth:
    """Running averages of loss and accuracy, for the eye."""

    def __init__(self) -> None:
        self._loss: float | None = None
        self._accuracy = 0.0

    def text(self, event: TrainEvent) -> str:
        """One phrase about the run so far, `event` included."""
        if self._loss is None:
            self._loss, self._accuracy = event.loss, event.accuracy
        self._loss += (1 - _SMOOTHING) * (event.loss - self._loss)
        self._accuracy += (1 - _SMOOTHING) * (event.accuracy - self._accuracy)
        found = event.validation_accuracy
        validated = "" if found is None else f"  validation {100 * found:.2f} %"
        return f"loss {self._loss:.3f}  accuracy {100 * self._accuracy:.1f} %{validated}"


class LineProgress:
    """Writes about twenty lines in the course of a run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = 0.0
        self._smooth = _Smooth()

    def __call__(self, event: TrainEvent) -> None:
        """Write a line if one is due."""
        text = self._smooth.text(event)
        if event.fraction < self._next:
            return
        self._next = (int(event.fraction * _LINES) + 1) / _LINES
        left = _clock(event.seconds_left)
        self._stream.write(f"{event.fraction:4.0%}  step {event.step}  {text}  {left} left\n")
        self._stream.flush()


@contextmanager
def show_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """A `Progress` for the length of a `with` block: a bar if `stream` is a terminal, else lines.

    Args:
        stream: Where to; standard error by default.

    Raises:
        MissingExtraError: A bar is due and rich is not installed.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield LineProgress(stream)
        return
    try:
        from rich.console import Console  # noqa: PLC0415  (an optional dependency)
        from rich.progress import BarColumn, TextColumn  # noqa: PLC0415
        from rich.progress import Progress as RichProgress  # noqa: PLC0415
    except ImportError as error:
        msg = "the progress bar needs rich; install edge-sdk[cli]"
        raise MissingExtraError(msg) from error
    columns = (
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:3.0f}%  step {task.fields[step]}  {task.fields[text]}"),
        TextColumn("{task.fields[left]} left"),
    )
    smooth = _Smooth()
    with RichProgress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task("training", total=1.0, step=0, text="", left="?")

        def advance(event: TrainEvent) -> None:
            bar.update(
                task,
                completed=event.fraction,
                step=event.step,
                text=smooth.text(event),
                left=_clock(event.seconds_left),
            )

        yield advance


@contextmanager
def show_count(
    what: str, total: int, stream: TextIO | None = None
) -> Iterator[Callable[[int], None]]:
    """A function to tell how many of `total` are done; draws a bar if `stream` is a terminal.

    Raises:
        MissingExtraError: A bar is due and rich is not installed.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield lambda _done: None
        return
    try:
        from rich.console import Console  # noqa: PLC0415  (an optional dependency)
        from rich.progress import Progress as RichProgress  # noqa: PLC0415
    except ImportError as error:
        msg = "the progress bar needs rich; install edge-sdk[cli]"
        raise MissingExtraError(msg) from error
    with RichProgress(console=Console(file=stream), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):  # nothing was measured yet
        return "?:??"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
