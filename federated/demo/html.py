"""Small pieces of HTML, every text escaped."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_KEEP_TOGETHER = re.compile(r"(?<=\d) (?=%|\N{PLUS-MINUS SIGN}|kB|ms|s\b)|(?<=\d,) (?=[^ ]*\])")
"""Spaces between a number and its unit, and inside an interval."""


def escape(text: str) -> str:
    """Text as HTML: curly apostrophes, numbers kept with their units, intervals kept whole."""
    curly = text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
    return html.escape(_KEEP_TOGETHER.sub("\N{NO-BREAK SPACE}", curly))


def paragraph(text: str, css: str = "") -> str:
    """One paragraph of plain text."""
    return f"<p{_class(css)}>{escape(text)}</p>"


def heading(level: int, text: str) -> str:
    """A heading of `level` 1..3."""
    return f"<h{level}>{escape(text)}</h{level}>"


def figure(content: str, caption: str, *, lead: str = "") -> str:
    """A figure with its caption; `content` is HTML, `lead` starts the caption in bold."""
    start = f"<b>{escape(lead)}</b> " if lead else ""
    return f"<figure>{content}<figcaption>{start}{escape(caption)}</figcaption></figure>"


def side_by_side(parts: Iterable[str]) -> str:
    """Parts beside each other on a wide page, below each other on a phone."""
    return f'<div class="pair">{"".join(parts)}</div>'


def key_figures(entries: Iterable[tuple[str, str, str, str]]) -> str:
    """Large figures, each (what, value, unit, note)."""
    cells = "".join(
        f'<div><dt>{escape(what)}</dt><dd class="value">{escape(value)} '
        f'<small>{escape(unit)}</small></dd><dd class="note">{escape(note)}</dd></div>'
        for what, value, unit, note in entries
    )
    return f'<dl class="figures">{cells}</dl>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int) -> str:
    """A table; columns from `numbers_from` on hold numbers."""

    def cell(tag: str, column: int, text: str) -> str:
        css = "number" if column >= numbers_from else ""
        return f"<{tag}{_class(css)}>{escape(text)}</{tag}>"

    def line(tag: str, texts: Sequence[str]) -> str:
        return f"<tr>{''.join(cell(tag, i, text) for i, text in enumerate(texts))}</tr>"

    body = "".join(line("td", row) for row in rows)
    return (
        f'<div class="scroll"><table><thead>{line("th", head)}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def details(summary: str, content: str) -> str:
    """HTML that is shown when it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def checks_table(rows: Iterable[tuple[bool, str, str, str]]) -> str:
    """What was asked and what was found: (met, name, asked, found)."""
    body = "".join(
        f'<tr><td class="mark{"" if met else " missed"}">{"met" if met else "MISSED"}</td>'
        f"<td>{escape(name)}</td><td>{escape(asked)}</td><td>{escape(found)}</td></tr>"
        for met, name, asked, found in rows
    )
    head = "<tr><th></th><th>check</th><th>asked</th><th>found</th></tr>"
    return f'<table class="checks"><thead>{head}</thead><tbody>{body}</tbody></table>'


def page(title: str, style: str, body: Iterable[str]) -> str:
    """One self-contained page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _class(css: str) -> str:
    return f' class="{css}"' if css else ""
