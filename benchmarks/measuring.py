"""What a process measures of itself over the stretch that counts: CPU time, wall time, latencies, memory."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from time import perf_counter
from typing import Self

import attrs

__all__ = ("Memory", "Stretch", "cpu_seconds", "percentile", "read_status")


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(-(-round(share * 1e6) * len(ordered) // 1_000_000), 1) - 1]


def cpu_seconds(who: int = resource.RUSAGE_SELF) -> float:
    """Return the CPU time, user and system, that this process (or its children) has taken."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def read_status(pid: int, name: str) -> int:
    """Return a line of the kernel's status of a process, in KiB: VmRSS is what is resident, VmHWM its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class Memory:
    """How much more resident memory a process holds at its peak than when this was made."""

    def __init__(self, pid: int | None = None) -> None:
        self._pid = os.getpid() if pid is None else pid
        # makes the peak begin anew
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")
        self._before = read_status(self._pid, "VmRSS")

    def growth(self) -> int:
        """KiB."""
        return max(0, read_status(self._pid, "VmHWM") - self._before)


@attrs.define
class Stretch:
    """Measures this process over a `with` block.

    Attributes:
        latencies: seconds of each job, for whoever takes them.
        cpu, children_cpu, wall: seconds of the whole block, there once it is left; children are those that have ended.
        memory: KiB by which resident memory peaked above the block's beginning.
    """

    latencies: list[float] = attrs.field(factory=list, init=False)
    cpu: float = attrs.field(default=0.0, init=False)
    children_cpu: float = attrs.field(default=0.0, init=False)
    wall: float = attrs.field(default=0.0, init=False)
    memory: int = attrs.field(default=0, init=False)
    _memory: Memory = attrs.field(init=False)

    def __enter__(self) -> Self:
        self._memory = Memory()
        self.children_cpu = -cpu_seconds(resource.RUSAGE_CHILDREN)
        self.cpu, self.wall = -cpu_seconds(), -perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += perf_counter()
        self.cpu += cpu_seconds()
        self.children_cpu += cpu_seconds(resource.RUSAGE_CHILDREN)
        self.memory = self._memory.growth()

    def report(self, jobs: int, **more: float) -> None:
        """Print the figures as one line of JSON: what `python -m benchmarks` reads of a contender."""
        figures: dict[str, float] = {"jobs": jobs, "cpu": self.cpu, "wall": self.wall, "memory": self.memory}
        if self.latencies:
            shares = {"p50": 0.5, "p99": 0.99, "longest": 1.0}
            figures |= {name: percentile(self.latencies, share) for name, share in shares.items()}
        if self.children_cpu:
            figures["children_cpu"] = self.children_cpu
        print(json.dumps(figures | more))
