"""Edge SDK: a bundle, opened, and `Engine.adapt` as an app calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from work import support

if TYPE_CHECKING:
    from pathlib import Path

NAME = "edge"


def version() -> str:
    """What runs."""
    from importlib.metadata import version as of

    return f"edge-sdk {of('edge-sdk')}, onnxruntime {of('onnxruntime')}"


def prepare(task: str, folder: Path) -> None:
    """Write the bundle."""
    from networks import write

    write(task, folder / "bundle")


class Run:
    """Starts from the bundle's state each time: states are immutable, there is nothing to reset."""

    def __init__(self, task: str, folder: Path, threads: int) -> None:
        from edge_sdk import Engine

        self.engine = Engine(folder / "bundle", threads=threads)
        self.features, self.labels = support(task)

    def reset(self) -> None:
        pass

    def adapt(self) -> list[float]:
        losses: list[float] = self.engine.adapt(self.features, self.labels).losses.tolist()
        return losses
