"""What the scripts themselves say of when they ran: the only witness of how many did at once."""

from __future__ import annotations

from pathlib import Path


def most_at_once(marks: Path) -> int:
    """Return how many scripts ran at the same time at most."""
    running = most = 0
    for line in sorted(marks.read_text().splitlines()):
        running += 1 if line.endswith("+") else -1
        most = max(most, running)
    return most


def started(marks: Path) -> int:
    """Return how many scripts have begun."""
    return sum(line.endswith("+") for line in marks.read_text().splitlines()) if marks.exists() else 0


def ended(marks: Path) -> int:
    """Return how many scripts have come to their end."""
    return sum(line.endswith("-") for line in marks.read_text().splitlines()) if marks.exists() else 0


def use_of(marks: Path, share: int) -> float:
    """Return which part of the time of so many workers went into scripts, from the first begin to the last end."""
    lines = [line.split() for line in sorted(marks.read_text().splitlines())]
    times = [float(line[0]) for line in lines]
    inside = sum(time if line[-1] == "-" else -time for time, line in zip(times, lines, strict=True))
    return inside / ((times[-1] - times[0]) * share)
