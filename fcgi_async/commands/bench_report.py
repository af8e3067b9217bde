"""The report of `fcgi-async bench`: percentiles of each stage, and a histogram, as text and as JSON."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from fcgi_async.dispatch.handle import Outcome
from fcgi_async.errors import JobCancelled

__all__ = ("Figures", "as_json", "as_text", "percentile")

_STAGES: Final = ("queued", "connect", "first_byte", "total")
_PERCENTILES: Final = {"p50": 50.0, "p75": 75.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
_BINS: Final = 10
_BAR: Final = 40


@attrs.define(eq=False)
class Figures:
    """The measurements.

    Args:
        concurrency: number of jobs at a time.
        workers: number of jobs that could run at a time.

    Attributes:
        seconds: from the first job to the last response.
        statuses: how often PHP answered with each status.
        errors: how often there was an error instead, by its name.
        failed: number of jobs that did not succeed.
        bytes: bytes of all bodies.
        stages: the seconds of each job, by stage; `connect` has only jobs that opened a connection.
    """

    concurrency: int
    workers: int
    seconds: float = attrs.field(init=False, default=0.0)
    statuses: Counter[int] = attrs.field(init=False, factory=Counter)
    errors: Counter[str] = attrs.field(init=False, factory=Counter)
    failed: int = attrs.field(init=False, default=0)
    bytes: int = attrs.field(init=False, default=0)
    stages: dict[str, array[float]] = attrs.field(init=False, factory=lambda: {name: array("d") for name in _STAGES})

    @property
    def jobs(self) -> int:
        """Number of jobs that have ended."""
        return self.statuses.total() + self.errors.total()

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.seconds if self.seconds else 0.0

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of a job; a job that was stopped does not count."""
        response, error = outcome.response, outcome.error
        if response is None:
            if not isinstance(error, JobCancelled):
                self.errors[type(error).__name__] += 1
                self.failed += 1
            return
        self.statuses[response.status] += 1
        self.failed += not response.ok
        self.bytes += len(response.content)
        timing, stages = response.timing, self.stages
        stages["queued"].append(timing.queued)
        if timing.connect:
            stages["connect"].append(timing.connect)
        stages["first_byte"].append(timing.first_byte)
        stages["total"].append(timing.total)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that this percentage of the values does not exceed; takes sorted values."""
    rank = -int(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]


def as_json(figures: Figures) -> str:
    """Return one JSON object on one line; times are in seconds."""
    stages = {name: _stage(sorted(values)) for name, values in figures.stages.items() if values}
    bins = [{"to": to, "count": number} for to, number in _histogram(sorted(figures.stages["total"]))]
    found = {
        "jobs": figures.jobs,
        "seconds": figures.seconds,
        "rate": figures.rate,
        "concurrency": figures.concurrency,
        "workers": figures.workers,
        "failed": figures.failed,
        "statuses": {str(status): number for status, number in sorted(figures.statuses.items())},
        "errors": dict(sorted(figures.errors.items())),
        "bytes": figures.bytes,
        "stages": stages,
        "histogram": bins,
    }
    return json.dumps(found) + "\n"


def as_text(figures: Figures) -> str:
    """Return a table of the stages, and a histogram of the whole time."""
    return "".join(f"{line}\n" for line in _lines(figures))


def _lines(figures: Figures) -> Iterator[str]:
    yield (
        f"{figures.jobs:,} jobs in {figures.seconds:.2f} s, {figures.rate:,.1f} jobs/s; "
        f"{figures.concurrency} at a time on {figures.workers} workers"
    )
    ended = [f"{number:,} with status {status}" for status, number in sorted(figures.statuses.items())]
    ended += [f"{number:,} with {name}" for name, number in sorted(figures.errors.items())]
    if ended:
        yield f"{', '.join(ended)}; {figures.failed:,} failed; {figures.bytes:,} bytes"
    measured = {name: sorted(values) for name, values in figures.stages.items() if values}
    if not measured:
        return
    yield ""
    yield f"{'ms':<12}" + "".join(f"{name:>9}" for name in ("mean", "min", *_PERCENTILES, "max"))
    for name, ordered in measured.items():
        yield f"{name.replace('_', ' '):<12}" + "".join(f"{_ms(value):>9}" for value in _stage(ordered).values())
    yield ""
    yield "total"
    bins = list(_histogram(measured["total"]))
    most = max(number for _, number in bins)
    for to, number in bins:
        name = f"<= {_ms(to)} ms"
        yield f"{name:>14}  {number:>8,}  {'#' * round(_BAR * number / most)}".rstrip()


def _stage(ordered: Sequence[float]) -> dict[str, float]:
    found = {name: percentile(ordered, percent) for name, percent in _PERCENTILES.items()}
    return {"mean": sum(ordered) / len(ordered), "min": ordered[0], **found, "max": ordered[-1]}


def _histogram(ordered: Sequence[float]) -> Iterator[tuple[float, int]]:
    """Yield equidistant upper bounds up to the 99th percentile, and the number of values below each."""
    if not ordered:
        return
    low, high, done = ordered[0], percentile(ordered, 99), 0
    bounds = [low + (high - low) * number / _BINS for number in range(1, _BINS)]
    for bound in [*bounds, high, ordered[-1]]:
        upto = done
        while upto < len(ordered) and ordered[upto] <= bound:
            upto += 1
        yield bound, upto - done
        done = upto


def _ms(value: float) -> str:
    return f"{value * 1000:,.2f}"
