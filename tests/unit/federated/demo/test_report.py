from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from federated.demo.html import escape
from federated.demo.pictures import sheet_uri
from federated.demo.report import render, write_report
from federated.demo.svg import ACCENT, INK, MUTED, PAPER, RULE, SECOND
from tests.unit.federated.demo.samples import a_result, a_study

if TYPE_CHECKING:
    from pathlib import Path

VOID = {"meta", "img", "path", "br", "use", "link"}


class Reader(HTMLParser):
    """Collects attributes and checks that elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html() -> str:
    return render(a_result())


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_the_page_is_well_formed_and_needs_nothing_else(html: str) -> None:
    reader = read(html)
    for tag, name, value in reader.attributes:
        if name in {"src", "href", "xlink:href", "data", "srcset"}:
            assert value.startswith(("data:", "#")), (tag, name)
    assert "<script" not in html
    assert "@import" not in html
    for target in re.findall(r"url\(([^)]*)\)", html):
        assert target.startswith("#")


def test_ids_are_unique_and_references_are_met(html: str) -> None:
    attributes = read(html).attributes
    ids = [value for _, name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r"url\(#([^)]*)\)", html))
    wanted |= {v[1:] for _, name, v in attributes if name == "xlink:href" and v[0] == "#"}
    assert wanted
    assert wanted <= set(ids)


def test_plots_take_the_colours_and_font_of_the_page(html: str) -> None:
    for drawn in (INK, MUTED, RULE, ACCENT, SECOND, PAPER):
        assert drawn not in html
    svg = html[html.index("<svg") :]
    assert "var(--accent)" in svg
    assert "currentColor" in svg
    assert "DejaVu" not in svg
    assert "prefers-color-scheme: dark" in html
    assert "<text" in svg


def test_the_same_result_gives_the_same_page(html: str) -> None:
    assert render(a_result()) == html


def test_what_is_met_and_what_is_missed_is_said_first() -> None:
    def start(gain: float) -> str:
        text = render(a_result(a_study(gain=gain)))
        return text[text.index("<body>") : text.index("<h2>")]

    assert "hold." in start(0.08)
    missed = start(0.02)
    assert "Missed: 2 of" in missed
    assert "5 examples a class" in missed
    assert "found +2.0 points" in missed


def test_labels_are_escaped() -> None:
    html = render(a_result(a_study(title="<b>&</b>")))
    assert "<b>&</b>" not in html
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in html


def test_a_study_without_confusions_or_teaching_is_rendered(tmp_path: Path) -> None:
    study = a_study(taught=False)
    study = replace(study, few_shot=replace(study.few_shot, confusions={}, class_names=()))
    write_report(a_result(study), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text("utf-8")
    read(html)
    assert "none is left to test on" in html


def test_numbers_keep_their_units_and_intervals_stay_whole() -> None:
    space = "\N{NO-BREAK SPACE}"
    assert escape("92.4 % of [1.0, 2.0] in 3 ms") == (
        f"92.4{space}% of [1.0,{space}2.0] in 3{space}ms"
    )


def test_a_sheet_is_a_png_with_transparent_paper() -> None:
    images = np.zeros((2, 3, 4, 4), np.uint8)
    images[1, 2] = 255
    uri = sheet_uri(images)
    start = "data:image/png;base64,"
    assert uri.startswith(start)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(start)))))
    assert sheet.shape == (8, 12, 2)
    assert sheet[..., 1].sum() == 255 * 16
    assert (sheet[4:, 8:, 1] == 255).all()
