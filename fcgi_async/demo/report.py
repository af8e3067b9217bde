"""The demo's measurements of each job, and its report as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from fcgi_async.demo.sources import Count

__all__ = ("Measurement", "format_differences", "format_report", "percentile")


@attrs.frozen
class Measurement:
    """One job: the worker's pid, what PHP counted, its bytes after gzcompress(), and when it ran.

    `queued` is how many seconds it waited for a worker; `started` and `ended` are seconds since the demo began.
    """

    name: str
    count: Count
    compressed: int
    pid: int
    queued: float
    started: float
    ended: float


def format_report(jobs: Sequence[Measurement], seconds: float, counted: Count) -> str:
    """Return the largest files, the totals, where the time went, and what each worker did."""
    return "\n\n".join([_largest_files(jobs), _totals(jobs, seconds, counted), _workers(jobs, seconds)])


def format_differences(php: Count, python: Count) -> str:
    """Return one line if the counts of PHP and Python agree, otherwise a table of the differences."""
    if php == python:
        return f"PHP's totals and Python's own agree: files, bytes, lines, words and sha256 {php.sha256[:16]}..."
    ours, theirs = attrs.asdict(php), attrs.asdict(python)
    differing = [(name, f"{found}", f"{theirs[name]}") for name, found in ours.items() if found != theirs[name]]
    return _table([("differs", "PHP", "Python"), *differing])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of the values do not exceed, by nearest rank."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _largest_files(jobs: Sequence[Measurement]) -> str:
    rows: list[tuple[str, ...]] = [("largest files", "bytes", "lines", "words", "compressed", "ms in PHP", "worker")]
    for job in sorted(jobs, key=lambda job: (-job.count.bytes, job.name))[:10]:
        numbers = (f"{number:,}" for number in (job.count.bytes, job.count.lines, job.count.words))
        share = job.compressed / job.count.bytes if job.count.bytes else 1
        rows.append((job.name, *numbers, f"{share:.0%}", f"{(job.ended - job.started) * 1e3:.1f}", str(job.pid)))
    return _table(rows)


def _totals(jobs: Sequence[Measurement], seconds: float, counted: Count) -> str:
    compressed = sum(job.compressed for job in jobs)
    share = f" ({compressed / counted.bytes:.0%})" if counted.bytes else ""
    queued = [job.queued * 1e3 for job in jobs]
    return _table(
        [
            ("totals", ""),
            *((name, f"{getattr(counted, name):,}") for name in ("files", "bytes", "lines", "words")),
            ("compressed", f"{compressed:,}{share}"),
            ("seconds", f"{seconds:.2f}"),
            ("jobs/s", f"{len(jobs) / seconds:,.0f}"),
            *((f"queue time p{share:.0%}"[:-1], f"{percentile(queued, share):,.1f} ms") for share in (0.5, 0.99)),
        ]
    )


def _workers(jobs: Sequence[Measurement], seconds: float) -> str:
    rows = [("PHP worker", "jobs", "busy")]
    for pid in sorted({job.pid for job in jobs}):
        own = [job.ended - job.started for job in jobs if job.pid == pid]
        rows.append((str(pid), f"{len(own):,}", f"{sum(own) / seconds:.0%}"))
    return _table(rows)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    line = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])])
    return "\n".join(line.format(*row).rstrip() for row in [rows[0], ["-" * width for width in widths], *rows[1:]])
