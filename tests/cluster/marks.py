"""What jobs write into a file when they begin, read as it grows."""

from __future__ import annotations

from bisect import bisect, insort
from collections import Counter, defaultdict
from pathlib import Path


class Marks:
    """Which jobs have begun, and when.

    Args:
        path: the file, which need not be there yet. Beginnings are lines "ID ATTEMPT +", or "ID ATTEMPT WORKER TIME +".
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._counts = Counter[str]()
        self._times = defaultdict[str, list[float]](list)

    def counts(self) -> Counter[str]:
        """How often each job has begun."""
        self._read_on()
        return self._counts

    def runs(self) -> int:
        """How many runs have begun."""
        return self.counts().total()

    def times(self, worker: str) -> list[float]:
        """When a worker's jobs began, in order."""
        self._read_on()
        return self._times[worker]

    def since(self, worker: str, time: float) -> int:
        """How many of a worker's jobs began after a time."""
        times = self.times(worker)
        return len(times) - bisect(times, time)

    def _read_on(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")
        self._read += len(whole[0] + whole[1])
        for line in whole[0].decode().splitlines():
            if line.endswith("+"):
                id, _, *more = line.split()
                self._counts[id] += 1
                if len(more) == 3:
                    insort(self._times[more[0]], float(more[1]))
