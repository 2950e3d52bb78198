"""Running a bundle imports numpy and the standard library: no torch, onnx, flwr or onnxruntime."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import sys
import edge_sdk
after_import = set(sys.modules)
import numpy as np
with edge_sdk.Personalizer(sys.argv[1], home=sys.argv[2]) as personal:
    x = np.ones((2, 1, 4, 4), np.float32)
    personal.teach("a", x)
    personal.adapt()
    personal.predict(x)
    personal.update(1.0)
    personal.forget("a")
for modules in (after_import, set(sys.modules)):
    tops = {name.partition(".")[0] for name in modules}
    print(*sorted(tops - set(sys.stdlib_module_names)))
"""

# What an editable install of this project adds is not a dependency of the device.
ALLOWED = {"edge_sdk", "numpy", "__main__"}
FORBIDDEN = {
    "torch", "onnx", "flwr", "onnxruntime", "onnxscript", "typer", "rich", "export", "federated",
    "tests",
}  # fmt: skip


def test_the_device_imports_numpy_alone(tiny_gradient_bundle: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tiny_gradient_bundle, tmp_path / "home"],
        capture_output=True,
        text=True,
        check=True,
    )
    first, last = (set(line.split()) for line in done.stdout.splitlines())
    for found in (first, last):
        assert not found & FORBIDDEN
        assert {"edge_sdk", "numpy"} <= found
        extra = {name for name in found - ALLOWED if not name.startswith(("_", "sitecustomize"))}
        assert not extra


def test_the_control_would_see_a_forbidden_import(
    tiny_gradient_bundle: Path, tmp_path: Path
) -> None:
    script = SCRIPT.replace("import edge_sdk\n", "import edge_sdk, onnxruntime\n", 1)
    done = subprocess.run(
        [sys.executable, "-c", script, tiny_gradient_bundle, tmp_path / "home"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "onnxruntime" in done.stdout.split()
