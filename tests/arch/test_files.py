"""Files stay short and say first what they are for."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.arch.import_graph import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MAX_LINES = 350
FOLDERS = (
    "benchmarks", "csrc", "docs", "edge_sdk", "examples", "export", "federated", "scripts", "tests",
)  # fmt: skip
SUFFIXES = {".py", ".pyi", ".cpp", ".h", ".md", ".txt", ".cmake"}

# Path from the root -> why the file is better whole.
LONG_FILES: dict[str, str] = {
    "docs/RESULTS.md": "written by edge-sdk export benchmark",
    "edge_sdk/personalizer.py": "the device's one public class; two thirds of it are contracts",
}


def files_of(*suffixes: str) -> list[Path]:
    folders = [ROOT / name for name in FOLDERS]
    return sorted(p for folder in folders for p in folder.rglob("*") if p.suffix in suffixes)


def num_lines(path: Path) -> int:
    return path.read_text("utf-8").count("\n")


def test_no_file_is_long_without_a_reason() -> None:
    names = {p.relative_to(ROOT).as_posix(): p for p in files_of(*SUFFIXES)}
    assert len(names) > 50, "the folders moved"
    long = {name: num_lines(path) for name, path in names.items() if num_lines(path) > MAX_LINES}
    assert set(long) == set(LONG_FILES), long


def shipped(*suffixes: str) -> list[Path]:
    """Files outside tests/, where the path says what is tested."""
    return [p for p in files_of(*suffixes) if p.relative_to(ROOT).parts[0] != "tests"]


@pytest.mark.parametrize("path", shipped(".py"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_python_file_starts_by_saying_what_it_is_for(path: Path) -> None:
    text = path.read_text("utf-8")
    if path.name != "__init__.py" or text.strip():
        assert ast.get_docstring(ast.parse(text)), "the first statement must be a docstring"


@pytest.mark.parametrize("path", shipped(".cpp", ".h"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_cpp_file_starts_by_saying_what_it_is_for(path: Path) -> None:
    assert path.read_text("utf-8").startswith("//")
