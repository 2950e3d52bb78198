"""Python runs this at start-up where it is on PYTHONPATH: notes which packages a process imports.

One line for each first import of a module of theirs, in `<IMPORT_WATCH>/<program>-<process id>`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

WATCHED = {"edge_sdk", "export", "federated", "onnx", "onnxruntime", "torch"}


class ImportWatch:
    """A finder that finds nothing: it only writes down what is looked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        del path, target
        if fullname.partition(".")[0] in WATCHED:
            program = Path(sys.argv[0]).name if hasattr(sys, "argv") else "python"
            with (self.folder / f"{program}-{os.getpid()}").open("a", encoding="utf-8") as out:
                out.write(f"{fullname}\n")


if "IMPORT_WATCH" in os.environ:
    sys.meta_path.insert(0, ImportWatch(Path(os.environ["IMPORT_WATCH"])))
