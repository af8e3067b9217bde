"""The numbers of a dispatcher: what it is doing, and what it has done."""

from __future__ import annotations

import attrs

from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.pool.slots import SlotState

__all__ = ("Statistics", "gather")


@attrs.frozen
class Statistics:
    """What a dispatcher is doing and has done; free to take, in any thread.

    The attributes up to and including `endpoints_away` are gauges of the current moment. Those from `completed` on are
    counters since the dispatcher was entered; they never fall. A submitted job is queued or running, or it is counted
    once under completed, failed or cancelled; `rejected` jobs were not submitted. If they are taken in a thread other
    than the event loop's, the seven slot states may be off by one slot that just moved.

    Attributes:
        share: most workers that may be occupied; the seven slot states sum to at most this.
        queued: jobs that wait for a worker, and slots that are waited for, including those outside a full queue.
        outside: how many of those are outside a full queue; their callers wait.
        running: jobs that have a worker.
        connecting: slots whose connection is being opened or waits for its first answer.
        busy: slots whose worker runs a job, or is held for one by `Dispatcher.slot()`.
        finishing: slots whose job has its response, but whose worker has not reported yet that it is free.
        idle: slots with a kept connection.
        draining: slots whose caller has left while the script runs on.
        leaving: slots whose script's output is refused, until the worker has left the script.
        lingering: slots whose connection was closed under a script that may run on.
        endpoints_away: endpoints that could not be reached at the last attempt.
        completed: jobs that got a response, whatever its status.
        php_errors: how many of those PHP failed at: status 500 or above, or a fatal error in STDERR.
        failed: jobs that ended in an error, the timeouts included.
        cancelled: jobs cancelled by their own side, and streams left before their end.
        retried: attempts after the first.
        rejected: jobs refused with QueueFull.
        queue_timeouts: jobs whose deadline passed before a worker took them.
        job_timeouts: jobs whose deadline passed after that.
        connections_opened: connections made.
        connections_failed: connections that failed: refused, or closed before a worker answered.
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
    php_errors: int
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
        php_errors=scheduler.tally.php_errors,
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
