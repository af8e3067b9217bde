"""The demo's report, as text."""

from __future__ import annotations

from collections.abc import Sequence

from fcgi_async.demo.measurement import Run, percentile
from fcgi_async.demo.sources import Totals

__all__ = ("format_differences", "format_report")

_LARGEST = 10


def format_report(run: Run, totals: Totals) -> str:
    """Return the largest files, the totals, where the time went, and what each worker did."""
    return "\n\n".join([_largest_files(run), _totals(run, totals), _workers(run)])


def format_differences(php: Totals, python: Totals) -> str:
    """Return one line on whether PHP counted what Python counts, or a table of what differs."""
    if php == python:
        return f"PHP's totals and Python's own agree: files, bytes, lines, words and sha256 {php.sha256[:16]}..."
    rows = [("differs", "PHP", "Python")]
    for name in ("files", "bytes", "lines", "words", "sha256"):
        ours, theirs = getattr(php, name), getattr(python, name)
        if ours != theirs:
            rows.append((name, str(ours), str(theirs)))
    return _table(rows)


def _largest_files(run: Run) -> str:
    rows = [("largest files", "bytes", "lines", "words", "compressed", "ms in PHP", "worker")]
    for job in sorted(run.jobs, key=lambda job: (-job.count.bytes, job.name))[:_LARGEST]:
        found = job.count
        share = job.compressed / found.bytes if found.bytes else 1
        rows.append(
            (
                job.name,
                f"{found.bytes:,}",
                f"{found.lines:,}",
                f"{found.words:,}",
                f"{share:.0%}",
                f"{job.duration * 1e3:.1f}",
                str(job.pid),
            )
        )
    return _table(rows)


def _totals(run: Run, totals: Totals) -> str:
    compressed = sum(job.compressed for job in run.jobs)
    queued = [job.queued for job in run.jobs]
    share = f" ({compressed / totals.bytes:.0%})" if totals.bytes else ""
    return _table(
        [
            ("totals", ""),
            ("files", f"{totals.files:,}"),
            ("bytes", f"{totals.bytes:,}"),
            ("lines", f"{totals.lines:,}"),
            ("words", f"{totals.words:,}"),
            ("compressed", f"{compressed:,}{share}"),
            ("seconds", f"{run.seconds:.2f}"),
            ("jobs/s", f"{run.rate:,.0f}"),
            ("queue time p50", f"{percentile(queued, 0.5) * 1e3:,.1f} ms"),
            ("queue time p99", f"{percentile(queued, 0.99) * 1e3:,.1f} ms"),
        ]
    )


def _workers(run: Run) -> str:
    rows = [("PHP worker", "jobs", "busy")]
    for pid, jobs in run.by_worker().items():
        rows.append((str(pid), f"{len(jobs):,}", f"{sum(job.duration for job in jobs) / run.seconds:.0%}"))
    return _table(rows)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
