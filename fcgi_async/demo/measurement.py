"""What the demo learns of each job, from PHP and from the dispatcher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import attrs

from fcgi_async.demo.sources import Count
from fcgi_async.errors import JobFailed
from fcgi_async.job.response import Response

__all__ = ("Measurement", "Run", "percentile")


@attrs.frozen
class Measurement:
    """One job; its times are seconds of the machine's monotonic clock, which PHP's hrtime() reads too.

    Attributes:
        name: of the file.
        count: what PHP counted.
        compressed: bytes after gzcompress().
        pid: of the PHP worker.
        submitted: when it was handed in.
        queued: for how long it waited for a worker.
        started: when the script began.
        ended: when the script was done.
    """

    name: str
    count: Count
    compressed: int
    pid: int
    submitted: float
    queued: float
    started: float
    ended: float

    @classmethod
    def read(cls, name: str, submitted: float, response: Response) -> Self:
        """Read what the script answered.

        Raises:
            JobFailed: it is not the script's answer.
        """
        try:
            answer = response.json()
            if not isinstance(answer, dict):
                raise ValueError("not an object")
            found = Count(answer["bytes"], answer["lines"], answer["words"], answer["sha256"])
            return cls(
                name,
                found,
                answer["compressed"],
                answer["pid"],
                submitted,
                response.timing.queued,
                answer["started"] / 1e9,
                answer["ended"] / 1e9,
            )
        except (ValueError, KeyError) as error:
            raise JobFailed(f"this is not the demo's answer: {response.text[:100]!r}", response=response) from error

    @property
    def accepted(self) -> float:
        """When a worker took it."""
        return self.submitted + self.queued

    @property
    def duration(self) -> float:
        """How long the script took."""
        return self.ended - self.started


@attrs.frozen
class Run:
    """All jobs of one run, one at least.

    Attributes:
        jobs: in the order in which they ended.
        started: when the first was handed in.
        ended: when the last outcome was there.
    """

    jobs: Sequence[Measurement]
    started: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return len(self.jobs) / self.seconds

    def by_worker(self) -> dict[int, list[Measurement]]:
        """The jobs of each PHP worker, by pid."""
        workers: dict[int, list[Measurement]] = {}
        for job in self.jobs:
            workers.setdefault(job.pid, []).append(job)
        return dict(sorted(workers.items()))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of the values do not exceed, by nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
