"""What a dispatcher is doing and has done, as numbers."""

from __future__ import annotations

import attrs

from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.pool.slots import SlotState

__all__ = ("Statistics", "gather")


@attrs.frozen
class Statistics:
    """Gauges first, then counters since the dispatcher was entered; free to take.

    Attributes:
        share: how many workers may be occupied; the six slot states sum to at most this.
        queued: jobs that wait for a worker, those outside a full queue included.
        running: jobs that have a worker.
        connecting: slots whose connection is dialled or waits for its first answer.
        busy: slots whose worker runs a job.
        finishing: slots whose job has its response and whose worker has not yet said that it is free.
        idle: slots with a kept connection.
        draining: slots whose caller is gone and whose script is not.
        lingering: slots whose connection was closed under a script that may run on.
        completed: jobs that got a response, whatever its status.
        failed: jobs that ended in an error.
        cancelled: jobs that were cancelled.
        retried: attempts that were made again.
        connections_opened: connections made.
        stray_records: records of finished requests that were dropped.
    """

    share: int
    queued: int
    running: int
    connecting: int
    busy: int
    finishing: int
    idle: int
    draining: int
    lingering: int
    completed: int
    failed: int
    cancelled: int
    retried: int
    connections_opened: int
    stray_records: int


def gather(scheduler: Scheduler) -> Statistics:
    """Return the statistics of all pools of a scheduler together."""
    pools = scheduler.pools
    slots = {state.value: sum(pool.ledger.counts[state] for pool in pools) for state in SlotState}
    return Statistics(
        share=sum(pool.ledger.share for pool in pools),
        queued=scheduler.queued,
        running=len(scheduler.running),
        **slots,
        completed=scheduler.completed,
        failed=scheduler.failed,
        cancelled=scheduler.cancelled,
        retried=scheduler.retried,
        connections_opened=sum(pool.connections_opened for pool in pools),
        stray_records=sum(pool.stray_records for pool in pools),
    )
