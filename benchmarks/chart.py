"""Pictures as SVG: bars, and lines over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import log

__all__ = ("bars", "panels")

WIDTH, LEFT, RIGHT = 860, 62, 30
PANEL, GAP, TOP = 104, 44, 34
STYLE = """
  text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #444c56; }
  .title { font-weight: 600; fill: #1f2328; } .grid { stroke: #d8dee4; }
  .bound { stroke: #cf222e; stroke-dasharray: 5 4; }
  polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; } text { fill: #9198a1; } .title { fill: #e6edf3; } .grid { stroke: #2a313c; }
  }
"""
BLUE, ORANGE, GREY = "#0969da", "#bc4c00", "#8c959f"


def picture(title: str, height: float, parts: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}"><style>{STYLE}</style>'
        f'<rect class="ground" width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>'
    )
    return "\n".join([head, *parts, "</svg>\n"])


def text(x: float, y: float, words: str, *, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def bars(title: str, items: Sequence[tuple[str, float]], marked: tuple[str, ...]) -> str:
    """Return a bar for each item on a logarithmic scale; names that begin with one of `marked` have a colour."""
    begin, step = 250, 24
    least, most = min(value for _, value in items) / 1.5, max(value for _, value in items)
    parts = [text(10, 22, title, kind="title")]
    for number, (name, value) in enumerate(items):
        y = 38 + number * step
        width = (WIDTH - begin - 90) * log(value / least) / log(most / least)
        parts.append(text(begin - 8, y + 13, name, anchor="end"))
        fill = BLUE if name.startswith(marked) else GREY
        parts.append(f'<rect x="{begin}" y="{y}" width="{width:.1f}" height="17" fill="{fill}"/>')
        parts.append(text(begin + width + 6, y + 13, f"{value:.2g} x" if value < 100 else f"{value:,.0f} x"))
    return picture(title, 48 + len(items) * step, parts)


def panels(
    title: str, times: Sequence[float], found: Sequence[tuple[str, Sequence[Sequence[float | None]], float | None]]
) -> str:
    """Return small pictures above each other on one axis of time: their titles, lines, and bounds that they keep."""
    end, parts = max(times, default=1.0), list[str]()
    for number, (head, lines, bound) in enumerate(found):
        top = TOP + number * (PANEL + GAP)
        highest = max([*(value for line in lines for value in line if value is not None), bound or 0.0, 1e-9]) * 1.1
        parts.append(text(LEFT, top - 9, head, kind="title"))

        def y(value: float, top: float = top, highest: float = highest) -> float:
            return top + PANEL * (1 - value / highest)

        for value, kind in ((0.0, "grid"), (highest / 1.1, "grid"), (bound, "bound")):
            if value is not None:
                parts.append(
                    f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
                )
                parts.append(text(LEFT - 8, y(value) + 4, f"{value:.3g}", anchor="end"))
        for line, colour in zip(lines, (BLUE, ORANGE), strict=False):
            pairs = [(t, value) for t, value in zip(times, line, strict=True) if value is not None]
            points = " ".join(f"{LEFT + (WIDTH - LEFT - RIGHT) * t / end:.1f},{y(value):.1f}" for t, value in pairs)
            parts.append(f'<polyline stroke="{colour}" points="{points}"/>')
        for part in range(6):
            label = f"{end * part / 300:.3g} min" if end >= 120 else f"{end * part / 5:.3g} s"
            parts.append(text(LEFT + (WIDTH - LEFT - RIGHT) * part / 5, top + PANEL + 15, label, anchor="middle"))
    return picture(title, TOP + len(found) * (PANEL + GAP), parts)
