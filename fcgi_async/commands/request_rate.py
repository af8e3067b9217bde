"""Requests per second, computed from two readings of FPM's status page."""

from __future__ import annotations

import attrs

from fcgi_async.fpm.status import PoolStatus, ProcessStatus

__all__ = ("Rates", "RequestRate")


@attrs.frozen
class Rates:
    """Requests per second.

    Attributes:
        pool: the rate of all workers.
        workers: the rate of each worker, by its pid.
    """

    pool: float
    workers: dict[int, float]


@attrs.define(eq=False)
class RequestRate:
    """Compares each worker's number of requests with the last reading; a new worker began with 0."""

    _before: dict[int, ProcessStatus] = attrs.field(factory=dict, init=False)
    _time: float | None = attrs.field(default=None, init=False)

    def rates(self, status: PoolStatus, now: float) -> Rates | None:
        """Return the rates since the last call; None at the first call.

        Args:
            status: the status page.
            now: seconds, on a monotonic clock.
        """
        before, then = self._before, self._time
        self._before, self._time = {process.pid: process for process in status.processes}, now
        if then is None or now <= then:
            return None
        served = {process.pid: _served(process, before.get(process.pid)) for process in status.processes}
        rates = {pid: number / (now - then) for pid, number in served.items()}
        return Rates(sum(rates.values()), rates)


def _served(process: ProcessStatus, before: ProcessStatus | None) -> int:
    # another worker may get the same pid
    if before is None or before.start_time != process.start_time:
        return process.requests
    return max(process.requests - before.requests, 0)
