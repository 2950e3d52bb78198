"""Where libonnxruntime is looked for, and what is said when it is not there."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edge_sdk import Engine
from edge_sdk.errors import RuntimeLibraryError
from edge_sdk.runtime import LIBRARY_VARIABLE, TELEMETRY_VARIABLE, find_runtime_library

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LIBRARY_VARIABLE, raising=False)


def test_the_wheel_s_library_is_found_without_importing_it() -> None:
    sys.modules.pop("onnxruntime", None)
    library = find_runtime_library()
    assert library.is_file()
    assert "libonnxruntime" in library.name
    assert "onnxruntime" not in sys.modules


def test_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "libonnxruntime.so"
    other.write_bytes(b"")
    monkeypatch.setenv(LIBRARY_VARIABLE, str(other))
    assert find_runtime_library() == other


def test_a_wrong_environment_is_an_error_not_a_fallback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(LIBRARY_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(RuntimeLibraryError, match=LIBRARY_VARIABLE):
        find_runtime_library()


@pytest.mark.parametrize("locations", [None, []])
def test_no_onnxruntime(monkeypatch: pytest.MonkeyPatch, locations: list[str] | None) -> None:
    spec = None
    if locations is not None:
        spec = importlib.machinery.ModuleSpec("onnxruntime", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    with pytest.raises(RuntimeLibraryError, match="pip install onnxruntime"):
        find_runtime_library()


def test_an_onnxruntime_without_a_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = importlib.machinery.ModuleSpec("onnxruntime", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: spec)
    with pytest.raises(RuntimeLibraryError, match="no shared library"):
        find_runtime_library()


def test_a_library_that_is_none_is_a_typed_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_bundle: Path
) -> None:
    broken = tmp_path / "libonnxruntime.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setenv(LIBRARY_VARIABLE, str(broken))
    with pytest.raises(RuntimeLibraryError):
        Engine(tiny_bundle)


SHOW_THREADS = """
import os, sys
from edge_sdk import Engine
before = len(os.listdir("/proc/self/task"))
Engine(sys.argv[1])
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_onnx_runtime_starts_no_thread_and_writes_no_file(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    """Its telemetry would: an identifier and a database in the user's folder, and an uploader."""
    home = tmp_path / "user"
    home.mkdir()
    hidden = {TELEMETRY_VARIABLE, "CI", "GITHUB_ACTIONS", "TF_BUILD", "XDG_CACHE_HOME"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SHOW_THREADS, tiny_bundle],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0\n"
    assert not list(home.rglob("*"))


def test_an_app_that_wants_telemetry_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TELEMETRY_VARIABLE, "0")
    find_runtime_library()
    assert os.environ[TELEMETRY_VARIABLE] == "0"
