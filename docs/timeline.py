"""Draws what `fcgi-async demo --json FILE` measured: a row for each PHP worker, a bar for each job, the queue below.

python -m docs.timeline FILE PICTURE.png
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from matplotlib.figure import Figure

__all__ = ("draw", "main", "queue_lengths")

BAR, QUEUE, GRID = "#3b5bdb", "#f08c00", "#e9ecef"


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


def draw(jobs: Sequence[Job]) -> Figure:
    """Return the picture."""
    workers = sorted({job["pid"] for job in jobs})
    seconds = max(job["ended"] for job in jobs)
    figure = Figure(figsize=(10, 1.9 + 0.4 * len(workers)), layout="constrained")
    rows, queue = figure.subplots(2, 1, sharex=True, height_ratios=[0.4 * len(workers), 1.2])
    for row, pid in enumerate(workers):
        bars = [(job["started"], (job["ended"] - job["started"]) * 0.9) for job in jobs if job["pid"] == pid]
        rows.broken_barh(bars, (row - 0.35, 0.7), color=BAR)
        rows.text(1.01, row, f"{len(bars):,} jobs", va="center", transform=rows.get_yaxis_transform())
    rows.set_yticks(range(len(workers)), [f"worker {pid}" for pid in workers])
    rows.invert_yaxis()
    rows.set_title(
        f"{len(jobs):,} PHP jobs on {len(workers)} workers in {seconds:.2f} s: {len(jobs) / seconds:,.0f} jobs/s"
    )
    queue.fill_between(*queue_lengths(jobs), step="post", color=QUEUE, alpha=0.4)
    queue.set_ylabel("jobs waiting")
    queue.set_xlabel("seconds")
    queue.set_ylim(bottom=0)
    queue.grid(color=GRID)
    rows.set_xlim(0, seconds)
    return figure


def main(measured: str, picture: str) -> None:
    """Draw a file into a file."""
    draw(json.loads(Path(measured).read_text())).savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
