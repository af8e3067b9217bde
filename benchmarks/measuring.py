"""What a process measures of itself over the stretch that counts: CPU and wall time, user instructions, memory."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import struct
from pathlib import Path
from time import perf_counter
from typing import Self

# of the system call perf_event_open
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
# struct perf_event_attr: hardware, 64 bytes, instructions; `inherit`, `exclude_kernel` and `exclude_hv` are set
ATTRIBUTES = struct.pack("IIQQQQQIIQ", 0, 64, 1, 0, 0, 0, 1 << 1 | 1 << 5 | 1 << 6, 0, 0, 0)


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


def count_user_instructions() -> int | None:
    """Return a descriptor that counts this process's instructions in user mode, None where the kernel has none."""
    number = PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        return None
    descriptor: int = ctypes.CDLL(None).syscall(number, ATTRIBUTES, 0, -1, -1, 0)
    return descriptor if descriptor >= 0 else None


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


class Stretch:
    """Measures this process over a `with` block.

    Attributes:
        latencies: seconds of each job, for whoever takes them.
        figures: of the whole block, there once it is left: seconds of CPU and wall time, pages that were faulted in,
            KiB by which memory peaked above the beginning, user instructions where the kernel counts them.
    """

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.figures: dict[str, float] = {}
        self._counter = count_user_instructions()

    def _read(self) -> dict[str, float]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        read = {
            "cpu": usage.ru_utime + usage.ru_stime,
            "children_cpu": cpu_seconds(resource.RUSAGE_CHILDREN),
            "faults": float(usage.ru_minflt),
            "wall": perf_counter(),
        }
        if self._counter is not None:
            read["user_instructions"] = float(int.from_bytes(os.read(self._counter, 8), "little"))
        return read

    def __enter__(self) -> Self:
        self._memory = Memory()
        self._begun = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self.figures = {name: value - self._begun[name] for name, value in self._read().items()}
        self.figures["memory"] = self._memory.growth()

    def report(self, jobs: int, **more: float) -> None:
        """Print the figures as one line of JSON: what `python -m benchmarks` reads of a contender."""
        figures = {"jobs": jobs} | self.figures
        if not figures["children_cpu"]:
            del figures["children_cpu"]
        if self.latencies:
            figures |= {name: percentile(self.latencies, share) for name, share in (("p50", 0.5), ("p99", 0.99))}
        print(json.dumps(figures | more))
