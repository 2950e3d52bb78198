"""The task sources by name: the one place that lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sdk.errors import InvalidOptionError
from export.tasks.digits import DigitTasks
from export.tasks.glyphs import GlyphTasks
from export.tasks.omniglot import OmniglotTasks
from export.tasks.sinusoids import SinusoidTasks
from export.tasks.unipen import UnipenTasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from export.tasks.base import TaskSource
    from export.tasks.functions import ValueSource

SOURCES: dict[str, Callable[[Path | None, int], TaskSource]] = {
    "glyphs": lambda _data, seed: GlyphTasks(seed=seed),
    "digits": lambda _data, _seed: DigitTasks(),
    "omniglot": lambda data, _seed: OmniglotTasks(data, split="vinyals"),
    "omniglot-lake": lambda data, _seed: OmniglotTasks(data, split="lake"),
    "unipen": lambda data, _seed: UnipenTasks(data),
}
"""Of labelled images."""

VALUE_SOURCES: dict[str, Callable[[], ValueSource]] = {"sinusoids": SinusoidTasks}
"""Of values."""


def open_any(name: str, *, data: Path | None = None, seed: int = 0) -> TaskSource | ValueSource:
    """Open a source of tasks of either kind; arguments and errors are those of `open_tasks`."""
    if name in VALUE_SOURCES:
        return VALUE_SOURCES[name]()
    return open_tasks(name, data=data, seed=seed)


def open_tasks(name: str, *, data: Path | None = None, seed: int = 0) -> TaskSource:
    """Open a source of labelled images.

    Args:
        name: A key of `SOURCES`.
        data: The data folder, for sources of real data that is not part of a package.
        seed: For sources that invent their data.

    Raises:
        InvalidOptionError: No source has this name.
        DataNotFoundError: The source's files are not in `data`.
        BadDataError: They do not hold what they should.
        MissingExtraError: The source needs a package that is not installed.
    """
    if name not in SOURCES:
        known = ", ".join(sorted({*SOURCES, *VALUE_SOURCES}))
        msg = f"no task source is called {name!r}; there are {known}"
        raise InvalidOptionError(msg)
    return SOURCES[name](data, seed)
