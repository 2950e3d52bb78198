from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from federated.demo.table import print_result
from tests.unit.federated.demo.samples import a_result, a_study

if TYPE_CHECKING:
    from federated.demo.result import DemoResult


def shown(result: DemoResult, width: int) -> str:
    stream = io.StringIO()
    print_result(Console(file=stream, width=width, highlight=False), result)
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80])
def test_every_figure_is_whole_and_no_line_is_too_long(width: int) -> None:
    text = shown(a_result(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for figure in ("80.0 ± 1.0", "88.0 ± 1.0", "+8.0 [7.0, 9.0]", "+40.0 [39.0, 41.0]", "447 kB"):
        assert figure in text
    assert "All targets met" in text


@pytest.mark.parametrize("width", [60, 80])
def test_a_miss_is_said_plainly(width: int) -> None:
    text = shown(a_result(a_study(gain=-0.125)), width)
    assert max(map(len, text.splitlines())) <= width
    assert "Missed on digits: 1 example a class" in text
    assert "MISS" in text
    assert "\N{MINUS SIGN}12.5 [\N{MINUS SIGN}13.5, \N{MINUS SIGN}11.5]" in text
    assert "All targets met" not in text
