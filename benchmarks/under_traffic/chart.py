"""What a run looked like, as a picture: four small ones above each other, on one axis of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

WIDTH, LEFT, RIGHT = 860, 62, 30
PANEL, GAP, TOP = 104, 44, 34
STYLE = """
  text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #444c56; }
  .title { font-weight: 600; fill: #1f2328; }
  .axis { stroke: #d0d7de; } .grid { stroke: #eaeef2; } .bound { stroke: #cf222e; stroke-dasharray: 5 4; }
  polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; } text { fill: #9198a1; } .title { fill: #e6edf3; }
    .axis { stroke: #3d444d; } .grid { stroke: #21262d; }
  }
"""
BLUE, ORANGE = "#0969da", "#bc4c00"

Row = dict[str, Any]


def draw(samples: Sequence[Row], share: int) -> str:
    """Return the picture as SVG.

    Args:
        samples: rows of `t` and what was measured then.
        share: how many workers there may be.
    """
    panels: list[tuple[str, list[tuple[str, str]], float | None]] = [
        ("jobs per second", [("jobs_per_second", BLUE)], None),
        ("seconds to the answer: p50, p99", [("p50", BLUE), ("p99", ORANGE)], None),
        (f"workers that are not idle, most seen (share: {share})", [("active", BLUE)], share),
        ("resident memory of the service, MB", [("rss_mb", BLUE)], None),
    ]
    height = TOP + len(panels) * (PANEL + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="A service under traffic"><style>{STYLE}</style>'
        f'<rect class="ground" width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    ]
    end = max([sample["t"] for sample in samples], default=1) or 1
    for number, (title, series, bound) in enumerate(panels):
        parts += _panel(TOP + number * (PANEL + GAP), title, series, bound, samples, end)
    return "\n".join([*parts, "</svg>\n"])


def _panel(
    top: float, title: str, series: list[tuple[str, str]], bound: float | None, samples: Sequence[Row], end: float
) -> list[str]:
    values = [sample[name] for name, _ in series for sample in samples if sample.get(name) is not None]
    highest = _round_up(max([*values, bound or 0, 1e-9]))
    bottom = top + PANEL

    def x(seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / end

    def y(value: float) -> float:
        return bottom - PANEL * value / highest

    parts = [f'<text class="title" x="{LEFT}" y="{top - 9}">{escape(title)}</text>']
    for part in (0.0, 0.5, 1.0):
        at = y(part * highest)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{part * highest:g}</text>')
    if bound is not None:
        parts.append(f'<line class="bound" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(bound):.1f}" y2="{y(bound):.1f}"/>')
    parts += [_line(samples, name, colour, x, y) for name, colour in series]
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    for part in range(6):
        seconds = end * part / 5
        label = f"{seconds / 60:.3g} min" if end >= 120 else f"{seconds:.3g} s"
        parts.append(f'<text x="{x(seconds):.1f}" y="{bottom + 15}" text-anchor="middle">{label}</text>')
    return parts


def _line(
    samples: Sequence[Row], name: str, colour: str, x: Callable[[float], float], y: Callable[[float], float]
) -> str:
    points = " ".join(f"{x(row['t']):.1f},{y(row[name]):.1f}" for row in samples if row.get(name) is not None)
    return f'<polyline stroke="{colour}" points="{points}"/>'


def _round_up(value: float) -> float:
    step = 10.0 ** len(str(int(value))) / 10 if value >= 1 else 0.1
    for factor in (1, 2, 4, 5, 8, 10):
        if value <= factor * step:
            return factor * step
    return value
