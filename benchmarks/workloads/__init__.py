"""What the contenders are raced over; each says what it measures and what it does not."""

from benchmarks.suite.race import Workload
from benchmarks.workloads.bodies import BODIES, FLUSHES
from benchmarks.workloads.jobs import COLD, EXTRAS, SMALLEST, TCP, WAITING
from benchmarks.workloads.queues import ENDLESS, ENDPOINTS, QUEUED

__all__ = ("WORKLOADS",)

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (SMALLEST, EXTRAS, TCP, COLD, WAITING, BODIES, FLUSHES, QUEUED, ENDPOINTS, ENDLESS)
}
