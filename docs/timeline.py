"""Draws what `fcgi-async demo --json FILE` measured: a row for each PHP worker, a bar for each job, the queue below.

python -m docs.timeline FILE PICTURE.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

__all__ = ("Job", "draw", "main", "queue_lengths")

BAR, QUEUE, GRID, TEXT = "#3b5bdb", "#f9c78a", "#dee2e6", "#212529"
# pixels: of the plot, around it, of a worker's row, and of the queue
WIDTH, LEFT, RIGHT, TOP, ROW, QUEUE_HEIGHT = 820, 110, 90, 40, 36, 110


class Job(TypedDict):
    """What is used of a job: its worker, and when it was taken from the queue, started and ended, in seconds."""

    pid: int
    queued: float
    started: float
    ended: float


def queue_lengths(jobs: Sequence[Job]) -> tuple[list[float], list[int]]:
    """Return when the queue became shorter, and how long it was from then on; all jobs were submitted at once."""
    moments = [0.0, *sorted(job["queued"] for job in jobs)]
    return moments, list(range(len(jobs), -1, -1))


def draw(jobs: Sequence[Job]) -> str:
    """Return the picture, as SVG."""
    seconds = max(job["ended"] for job in jobs)
    rows, bottom = _rows(jobs, seconds)
    title = f"{len(jobs):,} PHP jobs in {seconds:.2f} s: {len(jobs) / seconds:,.0f} jobs/s"
    parts = [_text(LEFT, 24, title), *rows, *_queue(jobs, seconds, bottom + 12)]
    width, height = LEFT + WIDTH + RIGHT, bottom + 12 + QUEUE_HEIGHT + 44
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    font = f'font-family="sans-serif" font-size="13" fill="{TEXT}"'
    background = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>', background, *parts, "</svg>\n"])


def _rows(jobs: Sequence[Job], seconds: float) -> tuple[list[str], int]:
    """Return a path for each worker, with its names, and where they end."""
    scale, parts, top = WIDTH / seconds, list[str](), TOP
    for pid in sorted({job["pid"] for job in jobs}):
        own = [job for job in jobs if job["pid"] == pid]
        # a gap between two bars, so that they can be told apart
        bars = [(LEFT + job["started"] * scale, (job["ended"] - job["started"]) * scale * 0.9) for job in own]
        path = "".join(f"M{x:.2f} {top}h{width:.2f}v{ROW - 10}h-{width:.2f}z" for x, width in bars)
        middle = top + (ROW - 10) // 2 + 5
        parts += [
            f'<path fill="{BAR}" d="{path}"/>',
            _text(LEFT - 8, middle, f"worker {pid}", "end"),
            _text(LEFT + WIDTH + 8, middle, f"{len(own):,} jobs"),
        ]
        top += ROW
    return parts, top


def _queue(jobs: Sequence[Job], seconds: float, top: int) -> list[str]:
    """Return the length of the queue as an area, with its axes."""
    bottom = top + QUEUE_HEIGHT
    steps = [f"M{LEFT} {bottom}"]
    for moment, length in zip(*queue_lengths(jobs), strict=True):
        x = LEFT + min(moment / seconds, 1) * WIDTH
        steps += [f"H{x:.2f}", f"V{bottom - length / len(jobs) * QUEUE_HEIGHT:.2f}"]
    parts = [f'<path fill="{QUEUE}" d="{"".join(steps)}V{bottom}z"/>']
    for quarter in range(5):
        x = LEFT + WIDTH * quarter // 4
        parts += [
            f'<path stroke="{GRID}" d="M{x} {TOP - 6}V{bottom}"/>',
            _text(x, bottom + 18, f"{seconds * quarter / 4:.2f} s", "middle"),
        ]
    return [
        *parts,
        f'<path stroke="{GRID}" d="M{LEFT} {bottom}h{WIDTH}"/>',
        _text(LEFT - 8, top + 12, f"{len(jobs):,}", "end"),
        _text(LEFT - 8, bottom, "0", "end"),
        _text(LEFT + WIDTH + 8, bottom, "jobs queued"),
    ]


def _text(x: int, y: int, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'


def main(measured: str, picture: str) -> None:
    """Draw a file into a file."""
    Path(picture).write_text(draw(json.loads(Path(measured).read_text())))


if __name__ == "__main__":
    main(*sys.argv[1:])
