"""The README starts with code that runs as it stands, and its links lead somewhere."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sdk import Personalizer
from tests.arch.import_graph import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

README = (ROOT / "README.md").read_text("utf-8")
FIRST_PYTHON = README.partition("```python\n")[2].partition("```")[0]


def test_the_first_lines_of_code_do_the_whole_loop(
    tiny_bundle: Path,
    tmp_path: Path,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    ann, bob = (rng.random((5, 1, 4, 4)).astype(np.float32) for _ in range(2))
    names: dict[str, Any] = {"ann_images": ann, "bob_images": bob, "new_images": ann[:2]}
    exec(compile(FIRST_PYTHON, "README.md", "exec"), names)  # noqa: S102  (our own README)
    assert len(names["who"].labels) == 2
    assert set(names["who"].names) == {"Ann", "Bob"}
    with Personalizer("bundle", home="user-data") as again:
        assert again.labels == ("Bob",)
    assert str(names["who"].labels) in capsys.readouterr().out


def test_it_takes_ten_lines() -> None:
    code = [line for line in FIRST_PYTHON.splitlines() if line.strip()]
    assert len(code) <= 10


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
