"""What the contenders are raced over; each says what it measures and what it does not."""

from benchmarks.suite.race import Workload
from benchmarks.workloads.bodies import BODIES, FLUSHES
from benchmarks.workloads.jobs import COLD, EXTRAS, SMALLEST, TCP
from benchmarks.workloads.queues import ENDPOINTS, QUEUED

WORKLOADS: dict[str, Workload] = {
    workload.name: workload for workload in (SMALLEST, EXTRAS, TCP, COLD, BODIES, FLUSHES, QUEUED, ENDPOINTS)
}
