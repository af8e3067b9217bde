"""What the contenders are raced over; each module says what it measures and what it does not."""

from benchmarks.workloads import (
    bodies,
    cold,
    endless,
    endpoints,
    fan_out,
    many_jobs,
    multiplexed,
    parser,
    queued,
    smallest_job,
    transports,
    waiting_jobs,
)

__all__ = ("WORKLOADS",)

WORKLOADS = {
    module.WORKLOAD.name: module.WORKLOAD
    for module in (
        smallest_job,
        transports,
        cold,
        waiting_jobs,
        fan_out,
        many_jobs,
        bodies,
        multiplexed,
        queued,
        endpoints,
        endless,
        parser,
    )
}
