"""What a test must leave as it found it: file descriptors and tasks."""

from __future__ import annotations

import os

import anyio
import attrs

from fcgi_async import Statistics


@attrs.frozen
class Baseline:
    """How many descriptors and tasks there are besides the connections that a dispatcher keeps."""

    descriptors: int
    tasks: int

    @classmethod
    def now(cls, statistics: Statistics | None = None) -> Baseline:
        """Return what there is in this moment."""
        kept = statistics.idle if statistics is not None else 0
        return cls(len(os.listdir("/proc/self/fd")) - kept, len(anyio.get_running_tasks()))

    def restored(self, statistics: Statistics | None = None) -> bool:
        """Return whether there is no more than that now."""
        now = Baseline.now(statistics)
        return now.descriptors <= self.descriptors and now.tasks <= self.tasks
