"""Counters of how jobs ended."""

from __future__ import annotations

from fcgi_async.errors import FastCGIError, JobCancelled, JobTimeout, QueueTimeout

__all__ = ("Tally",)


class Tally:
    """Counters of one dispatcher; `Statistics` documents each."""

    __slots__ = (
        "cancelled",
        "completed",
        "failed",
        "job_timeouts",
        "php_errors",
        "queue_timeouts",
        "rejected",
        "retried",
    )

    def __init__(self) -> None:
        self.completed = self.php_errors = self.failed = self.cancelled = self.retried = self.rejected = 0
        self.queue_timeouts = self.job_timeouts = 0

    def count(self, error: FastCGIError) -> None:
        """Count a job that ended with an error."""
        if isinstance(error, JobCancelled):
            self.cancelled += 1
        else:
            self.failed += 1
            if isinstance(error, QueueTimeout):
                self.queue_timeouts += 1
            elif isinstance(error, JobTimeout):
                self.job_timeouts += 1
