"""Edge SDK: a bundle, opened, and what an app calls: `embed` where a part is frozen, `adapt`."""

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
        self.frozen = self.engine.placement.file is not None
        self.x, self.labels = support(task)

    def reset(self) -> None:
        pass

    def adapt(self) -> list[float]:
        features = self.engine.embed(self.x) if self.frozen else self.x
        losses: list[float] = self.engine.adapt(features, self.labels).losses.tolist()
        return losses
