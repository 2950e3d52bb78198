"""The Python example does what it says, in fewer lines than a screen."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.arch.import_graph import ROOT

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = ROOT / "examples" / "python" / "three_characters.py"


def test_it_recognises_what_it_was_taught(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLE], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "('zed',)\n"
    assert (tmp_path / "user-data").is_dir()


def test_it_is_short_and_the_readme_shows_it() -> None:
    text = EXAMPLE.read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(text), clean=False)
    code = text.replace(f'"""{docstring}"""\n\n', "")
    assert len([line for line in code.splitlines() if line.strip()]) < 15
    assert f"```python\n{code}```" in (ROOT / "README.md").read_text("utf-8")
