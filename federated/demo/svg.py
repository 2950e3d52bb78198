"""A matplotlib figure as inline SVG, in the page's font and its light or dark colours."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

# Drawn with these, shown as what the page's style sheet says.
INK, MUTED, RULE = "#010101", "#020202", "#030303"
ACCENT, SECOND, PAPER = "#040404", "#050505", "#060606"
_ON_PAGE = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    PAPER: "var(--paper)",
}
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.solid_capstyle": "round",
    "path.simplify": False,
}
_POINTS_PER_INCH = 72


def draw_svg(
    paint: Callable[[Axes], None],
    *,
    width: int,
    height: int,
    name: str,
    title: str,
    zoom: float = 1.0,
) -> str:
    """Let `paint` draw on axes of a `width` x `height` figure (CSS pixels); return the SVG element.

    Args:
        paint: Draws, in the colours of this module only.
        width: Natural width; on a narrower page the figure shrinks.
        height: Natural height.
        zoom: Largest magnification on a wider page.
        name: Unique in the page: ids inside the SVG start with it.
        title: What the figure shows, for those who do not see it.
    """
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure = Figure(
            figsize=(width / _POINTS_PER_INCH, height / _POINTS_PER_INCH), layout="constrained"
        )
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        paint(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(stream.getvalue(), name, title, round(zoom * width))


def _inline(svg: str, name: str, title: str, max_width: int) -> str:
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font: (?:(\d+) )?([0-9.]+)px [^;\"]*", _font, body)
    body = re.sub(r"font-family: [^;\"]*;?", "", body)
    for drawn, shown in _ON_PAGE.items():
        body = body.replace(drawn, shown)
    view_box = re.search(r'viewBox="[^"]*"', body)
    inside = body[body.index(">") + 1 :]
    return (
        f'<svg role="img" aria-label="{escape(title)}" {view_box.group() if view_box else ""} '
        f'style="max-width:{max_width}px"><title>{escape(title)}</title>{inside}'
    )


def _font(found: re.Match[str]) -> str:
    """The page's font in the size and weight that matplotlib asks for."""
    weight = f"font-weight: {found[1]}; " if found[1] else ""
    return f"{weight}font-size: {found[2]}px"
