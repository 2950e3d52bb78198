"""Imports point one way, and the device package needs numpy and ONNX Runtime only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.arch.import_graph import ROOT


def test_the_import_contracts_are_kept() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Refuses every top-level module but the standard library's and those named on the command line.
BARE = """
import sys

allowed = {*sys.stdlib_module_names, *sys.argv[2].split(",")}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"{name} must not be needed", name=name)

sys.meta_path.insert(0, Refuse())
exec(sys.argv[1])
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"torch", "onnx", "flwr", "typer", "rich"}, loaded
"""


def run_bare(code: str, allowed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE, code, allowed], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        (
            "import edge_sdk; [getattr(edge_sdk, name) for name in edge_sdk.__all__]",
            "numpy,edge_sdk",
        ),
        ("import edge_sdk.cli", "numpy,edge_sdk"),
    ],
)
def test_what_a_device_imports_is_light(code: str, allowed: str) -> None:
    done = run_bare(code, allowed)
    assert done.returncode == 0, done.stderr


def test_a_heavy_import_would_be_seen() -> None:
    assert run_bare("import onnxruntime", "numpy,edge_sdk").returncode != 0


CLIENT = """
import sys
import federated.client_app
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"torch", "onnx", "export", "transformers"}, loaded
"""


def test_the_federated_client_imports_neither_torch_nor_export() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLIENT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
