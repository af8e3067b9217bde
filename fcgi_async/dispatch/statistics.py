"""What a dispatcher is doing and has done, as numbers."""

from __future__ import annotations

import attrs

from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.pool.slots import SlotState

__all__ = ("Statistics", "gather")


@attrs.frozen
class Statistics:
    """What a dispatcher is doing and has done; free to take, and from any thread.

    The first are gauges, what is now: up to and with `endpoints_away`. The others are counters since the dispatcher was
    entered, from `completed` on; they never fall. A job that was handed in is queued or running, or it is counted once
    under completed, failed or cancelled; `rejected` ones were not handed in. Taken in another thread than the event
    loop's, the seven slot states may be out by one that just moved.

    Attributes:
        share: how many workers may be occupied; the seven slot states sum to at most this.
        queued: jobs that wait for a worker, and slots that are waited for, those outside a full queue included.
        outside: of those, the ones outside a full queue; whoever handed them in waits.
        running: jobs that have a worker.
        connecting: slots whose connection is dialled or waits for its first answer.
        busy: slots whose worker runs a job, or is held for one by `Dispatcher.slot()`.
        finishing: slots whose job has its response and whose worker has not yet said that it is free.
        idle: slots with a kept connection.
        draining: slots whose caller is gone and whose script is not.
        leaving: slots whose script's output is refused, until its worker has left it.
        lingering: slots whose connection was closed under a script that may run on.
        endpoints_away: endpoints that could not be reached the last time.
        completed: jobs that got a response, whatever its status.
        failed: jobs that ended in an error, the timeouts included.
        cancelled: jobs that their own side cancelled, and streams left before their end.
        retried: attempts that were made again.
        rejected: jobs that were refused with QueueFull.
        queue_timeouts: jobs whose deadline passed before a worker took them.
        job_timeouts: jobs whose deadline passed after that.
        connections_opened: connections made.
        connections_failed: connections that came to nothing: refused, or closed before a worker answered.
        stray_records: records of finished requests that were dropped.
    """

    share: int
    queued: int
    outside: int
    running: int
    connecting: int
    busy: int
    finishing: int
    idle: int
    draining: int
    leaving: int
    lingering: int
    endpoints_away: int
    completed: int
    failed: int
    cancelled: int
    retried: int
    rejected: int
    queue_timeouts: int
    job_timeouts: int
    connections_opened: int
    connections_failed: int
    stray_records: int


def gather(scheduler: Scheduler) -> Statistics:
    """Return the statistics of all pools of a scheduler together."""
    pools = scheduler.pools
    slots = {state.value: sum(pool.peer.ledger.counts[state] for pool in pools) for state in SlotState}
    return Statistics(
        share=sum(pool.peer.ledger.share for pool in pools),
        queued=scheduler.queued,
        outside=scheduler.queue.total - scheduler.queue.size,
        running=len(scheduler.running),
        **slots,
        endpoints_away=sum(pool.peer.reachability.away for pool in pools),
        completed=scheduler.tally.completed,
        failed=scheduler.tally.failed,
        cancelled=scheduler.tally.cancelled,
        retried=scheduler.tally.retried,
        rejected=scheduler.tally.rejected,
        queue_timeouts=scheduler.tally.queue_timeouts,
        job_timeouts=scheduler.tally.job_timeouts,
        connections_opened=sum(pool.connections_opened for pool in pools),
        connections_failed=sum(pool.connections_failed for pool in pools),
        stray_records=sum(pool.peer.stray_records for pool in pools),
    )
