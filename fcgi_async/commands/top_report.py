"""The output of `fcgi-async top`, as a line and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import attrs

from fcgi_async.commands.request_rate import Rates
from fcgi_async.commands.terminal import printable
from fcgi_async.fpm.status import PoolStatus, ProcessStatus

__all__ = ("Look", "memory")


@attrs.frozen
class Look:
    """One reading of a pool.

    Attributes:
        status: FPM's status page.
        rates: requests per second since the last reading; None at the first.
        at: the time of the reading.
    """

    status: PoolStatus
    rates: Rates | None
    at: datetime = attrs.field(factory=lambda: datetime.now(UTC))

    @property
    def cpu(self) -> float:
        """Mean processor use of the workers' last requests in percent; 0 if there was none."""
        measured = [process.last_request_cpu for process in self.status.processes if process.last_request_cpu]
        return sum(measured) / len(measured) if measured else 0.0

    @property
    def memory(self) -> int:
        """Largest memory use of the workers' last requests in bytes."""
        return max((process.last_request_memory for process in self.status.processes), default=0)

    def line(self) -> str:
        """Return it as one line."""
        status = self.status
        queue = "unknown" if status.listen_queue is None else f"{status.listen_queue}"
        rate = "-" if self.rates is None else f"{self.rates.pool:,.1f}"
        return printable(
            f"{self.at:%H:%M:%S}  pool {status.pool}: {status.active} active, {status.idle} idle of {status.total}, "
            f"queue {queue}, {rate} requests/s, CPU {self.cpu:.1f} %, memory {memory(self.memory)}, "
            f"max_children reached {status.max_children_reached}, slow {status.slow_requests}"
        )

    def as_json(self) -> str:
        """Return it as one JSON object on one line."""
        status = self.status
        return json.dumps(
            {
                "time": self.at.isoformat(timespec="milliseconds"),
                "pool": status.pool,
                "active": status.active,
                "idle": status.idle,
                "total": status.total,
                "listen_queue": status.listen_queue,
                "max_children_reached": status.max_children_reached,
                "slow_requests": status.slow_requests,
                "requests_per_second": None if self.rates is None else self.rates.pool,
                "cpu": self.cpu,
                "memory": self.memory,
                "workers": [self._worker(process) for process in status.processes],
            }
        )

    def _worker(self, process: ProcessStatus) -> dict[str, object]:
        return {
            "pid": process.pid,
            "state": process.state,
            "requests": process.requests,
            "requests_per_second": None if self.rates is None else self.rates.workers.get(process.pid),
            "seconds": process.request_duration,
            "cpu": process.last_request_cpu,
            "memory": process.last_request_memory,
            "method": process.request_method,
            "uri": process.request_uri,
            "script": process.script,
        }


def memory(size: int) -> str:
    """Return a number of bytes in readable form."""
    return f"{size / 1024 / 1024:,.1f} MiB"
