"""How large the compiled core is that an app ships."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path


def core_size() -> dict[str, float]:
    """Megabytes (10^6 bytes) of `edge_sdk._core` as installed, and stripped of its symbols.

    Raises:
        FileNotFoundError: It is not installed, or there is no `strip` (of binutils).
    """
    spec = find_spec("edge_sdk._core")
    strip = shutil.which("strip")
    if spec is None or spec.origin is None or strip is None:
        msg = "needs edge_sdk installed, and strip of binutils on PATH"
        raise FileNotFoundError(msg)
    with tempfile.TemporaryDirectory() as folder:
        stripped = Path(folder) / "core"
        shutil.copy(spec.origin, stripped)
        subprocess.run([strip, "--strip-unneeded", stripped], check=True)  # noqa: S603
        sizes = Path(spec.origin).stat().st_size, stripped.stat().st_size
    return {"installed_mb": round(sizes[0] / 1e6, 3), "stripped_mb": round(sizes[1] / 1e6, 3)}
