"""Worker: runs durable jobs on the PHP workers of a dispatcher.

Theory of operation. A runner for each PHP worker takes one (`Dispatcher.slot()`), is fed a job (feed.py), runs it, and
hands its end to the settler (settler.py), which writes it while the next job runs already. So never more jobs are
claimed than there are PHP workers in hand, and `ahead`. What is done for a database besides is in supply.py; of several
databases the runners take turns between those that have something, so that one that is away keeps nobody.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import anyio

from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.held_slot import HeldSlot
from fcgi_async.errors import ConfigurationError, DispatcherClosed, FastCGIError, InvalidJob, JobCancelled
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.jobs.change import Change
from fcgi_async.jobs.checks import check_number, check_whole
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.clock import check_crons
from fcgi_async.jobs.databases import Databases
from fcgi_async.jobs.errors import PayloadTooLarge, StoreError, StoreFull, StoreUnavailable
from fcgi_async.jobs.observer import Attempt, Tally, WorkerObserver, WorkerStatistics, begin
from fcgi_async.jobs.outcome import settle_attempt
from fcgi_async.jobs.record import Claimed, Lane, Limits, Settlement, add_counts
from fcgi_async.jobs.schedule import Cron
from fcgi_async.jobs.shown import shown
from fcgi_async.jobs.supply import Supply, pick
from fcgi_async.jobs.task import Task

__all__ = ("Worker",)

logger = logging.getLogger("fcgi_async.jobs")

# seconds until an unreachable PHP-FPM is tried again
_FPM_PAUSE = 0.5
# how many characters of an error are logged
_LONGEST_ERROR = 1000


class Worker:
    """Takes jobs from a database and runs them on PHP-FPM.

        async with Dispatcher(endpoint) as php, Jobs(url) as jobs:
            await Worker(php, jobs, tasks=[mail, report]).run()

    Args:
        php: the dispatcher whose PHP workers it uses; other code may use it too.
        jobs: the database, or several.
        tasks: the tasks that it runs; jobs of other tasks are left to other workers.
        schedules: the schedules whose jobs it puts; other workers may run their tasks.
        queues: the weights of the queues that it serves, 1 or more each; None for all queues of its tasks with equal
            weights.
        ahead: how many jobs are claimed in addition to one for each held PHP worker, 0 or more: so a job is already
            there when a PHP worker becomes free. It goes back if other jobs of the dispatcher use them all for longer
            than a second.
        priority: priority of its jobs in the dispatcher; by default below other jobs, so that these are not held up.
        shutdown_timeout: seconds that running jobs have to end after `stop()`; None for no limit.
        keep_done: least seconds for which done jobs stay in the database, 0 or more.

    Raises:
        ConfigurationError: an argument is out of its range, or no queue has a task.
    """

    def __init__(
        self,
        php: Dispatcher,
        jobs: Jobs | Databases,
        tasks: Iterable[Task],
        *,
        schedules: Iterable[Cron] = (),
        queues: Mapping[str, int] | None = None,
        ahead: int = 1,
        priority: int = -1,
        shutdown_timeout: float | None = 30.0,
        keep_done: float = 600.0,
    ) -> None:
        if not isinstance(jobs, Jobs | Databases):
            raise ConfigurationError(
                f"Worker(jobs) must be a Jobs, or Databases, after the dispatcher; not {type(jobs).__name__}"
            )
        check_whole("Worker(ahead)", ahead, least=0)
        check_number("Worker(shutdown_timeout)", shutdown_timeout, least=0, optional=True)
        check_number("Worker(keep_done)", keep_done, least=0)
        self._tasks = _by_name(tasks)
        self.id = _new_worker_id()
        self._php = php
        self._priority = priority
        self._shutdown_timeout, self._keep_done = shutdown_timeout, keep_done
        self._change = Change()
        self._supplies = [
            Supply(database, self.id, lanes, crons, php, ahead, self._change, lambda: bool(self._observers))
            for database, lanes, crons in _by_database(
                jobs, _lanes(self._tasks.values(), queues), check_crons(schedules)
            )
        ]
        self._observers: list[WorkerObserver] = []
        self._tally = Tally()
        self._stopping = anyio.Event()
        self._failure: Exception | None = None
        self._started = False

    def __repr__(self) -> str:
        return f"<Worker {self.id} with {self.in_hand} jobs in hand>"

    @property
    def in_hand(self) -> int:
        """Number of jobs that are claimed and not settled yet."""
        return sum(len(supply.settler.held) for supply in self._supplies)

    def stop(self) -> None:
        """Claim no more jobs, finish running jobs within `shutdown_timeout`, and give the others back."""
        self._stopping.set()
        self._close()

    @property
    def php(self) -> Dispatcher:
        """The dispatcher whose PHP workers it uses."""
        return self._php

    def observe(self, observer: WorkerObserver) -> None:
        """Call an observer for each attempt from now on; telemetry's `instrument_worker()` uses this."""
        self._observers.append(observer)

    def statistics(self) -> WorkerStatistics:
        """Return its current numbers and counters; free to call, in any thread."""
        tally = self._tally
        return WorkerStatistics(
            in_hand=self.in_hand,
            claimed=tally.claimed,
            ended=dict(tally.ended),
            lost=sum(supply.settler.lost for supply in self._supplies),
            recovered=sum(supply.recovered for supply in self._supplies),
            counts=add_counts(supply.counts for supply in self._supplies),
        )

    async def run(self) -> None:
        """Run jobs until `stop()`.

        It waits for a database or a PHP-FPM that is away.

        Raises:
            ConfigurationError: it was run before, or the dispatcher cannot work as configured.
            StoreUnavailable: the database cannot be reached at the beginning.
            StoreCorrupt: the database is damaged.
            SchemaMismatch: a later release has migrated the tables.
            DispatcherClosed: the dispatcher was closed.

        Cancelling stops at once: running jobs are settled as jobs that may have run; the others are given back.
        """
        if self._started:
            raise ConfigurationError("a Worker can run only once; make a new one")
        self._started = True
        runners = max(self._php.statistics().share, 1)
        try:
            await self._announce(runners)
            async with anyio.create_task_group() as services:
                guard = partial(self._guard, services.cancel_scope)
                async with anyio.create_task_group() as feeding:
                    for supply in self._supplies:
                        services.start_soon(guard, partial(self._serve, supply, runners))
                        feeding.start_soon(guard, supply.feed.run)
                    async with anyio.create_task_group() as running:
                        feeding.start_soon(self._limit_shutdown, running.cancel_scope)
                        for _ in range(runners):
                            running.start_soon(guard, self._run_jobs)
                    feeding.cancel_scope.cancel()
                services.cancel_scope.cancel()
        finally:
            await self._leave()
        if self._failure is not None:
            raise self._failure

    async def _announce(self, runners: int) -> None:
        """Announce the worker in each database that can be written to, or raise if none can."""
        failures: list[StoreError] = []

        async def announce(supply: Supply) -> None:
            try:
                await supply.announce(runners)
            except StoreError as error:
                failures.append(error)

        async with anyio.create_task_group() as announcing:
            for supply in self._supplies:
                announcing.start_soon(announce, supply)
        for error in failures:
            if len(failures) == len(self._supplies) or not isinstance(error, StoreUnavailable | StoreFull):
                raise error
            logger.warning("the worker goes on without one of its databases: %s", error)

    async def _serve(self, supply: Supply, runners: int) -> None:
        """Do what a database needs besides, as soon as it is there."""
        await supply.announce_later(runners)
        async with anyio.create_task_group() as services:
            guard = partial(self._guard, services.cancel_scope)
            for service in supply.services:
                services.start_soon(guard, service)
        if self._failure is not None:
            raise self._failure

    def _close(self) -> None:
        for supply in self._supplies:
            supply.feed.close()

    async def _guard(self, scope: anyio.CancelScope, service: Callable[[], Awaitable[None]]) -> None:
        """Run a part of the worker; its error ends all parts, and is raised unchanged."""
        try:
            await service()
        except Exception as error:
            self._failure = self._failure or error
            scope.cancel()

    # running

    async def _run_jobs(self) -> None:
        complained = False
        while True:
            supply = await self._turn()
            if supply is None:
                return
            supply.feed.go()
            fed = False
            try:
                async with self._php.slot(priority=self._priority) as slot:
                    fed = True
                    claimed = await supply.feed.next()
                    if claimed is not None:
                        await self._attempt(supply, slot, claimed)
                complained = False
            except (DispatcherClosed, ConfigurationError):
                raise
            except FastCGIError as error:
                if not fed:
                    supply.feed.turn()
                if not complained:
                    logger.warning("no PHP worker for durable jobs: %s", error)
                complained = True
                await anyio.sleep(_FPM_PAUSE)

    async def _turn(self) -> Supply | None:
        """Wait until a PHP worker is worth going for, and return the database for which; None at the end."""
        while True:
            if self._stopping.is_set():
                return None
            supply = pick(self._supplies)
            if supply is not None:
                return supply
            await self._change.wait()

    async def _attempt(self, supply: Supply, slot: HeldSlot, claimed: Claimed) -> None:
        put_off = await supply.doubt.hold(self._tasks[claimed.task], claimed)
        if put_off is None and supply.lease.is_over:
            put_off = Settlement(number=claimed.number, id=claimed.id, attempt=claimed.attempt, state="ready")
        if put_off is not None:
            supply.settler.add(put_off)
            return
        self._tally.claimed += 1
        attempt = begin(self._observers, claimed, time.monotonic() - claimed.taken)
        claimed = attempt.claimed
        task = self._tasks[claimed.task]
        ended: Response[str] | FastCGIError
        try:
            job = self._job(supply, task, claimed)
        except (InvalidJob, PayloadTooLarge) as error:
            ended = error
        else:
            supply.begun[claimed.key] = attempt
            supply.store.begun(self.id, claimed)
            try:
                with attempt.running():
                    ended = await slot.run(job)
            except FastCGIError as error:
                ended = error
        self._settle(supply, attempt, ended)

    def _job(self, supply: Supply, task: Task, claimed: Claimed) -> Job[str]:
        most = supply.jobs.payload_limit
        # enqueue()'s limit does not apply to a client with INSERT
        if len(claimed.data) > most:
            raise PayloadTooLarge(f"the data of job {claimed.id!r} is longer than payload_limit={most}")
        return task.job(claimed, supply.store.php_params())

    def _settle(self, supply: Supply, attempt: Attempt, ended: Response[str] | FastCGIError) -> None:
        claimed = attempt.claimed
        settlement = settle_attempt(self._tasks[claimed.task], claimed, ended, now=time.time(), keep=self._keep_done)
        supply.settler.add(settlement)
        supply.begun.pop(claimed.key, None)
        self._tally.ended[settlement.state] = self._tally.ended.get(settlement.state, 0) + 1
        attempt.done(settlement)
        if settlement.state not in ("done", "ready"):
            error = shown(settlement.error or "", _LONGEST_ERROR)
            logger.warning("job %s of task %s is %s: %s", shown(claimed.id), claimed.task, settlement.state, error)

    async def _limit_shutdown(self, running: anyio.CancelScope) -> None:
        await self._stopping.wait()
        if self._shutdown_timeout is not None:
            await anyio.sleep(self._shutdown_timeout)
            running.cancel()

    async def _leave(self) -> None:
        """Settle jobs that have ended or were interrupted, and give back those that were not started."""
        self._close()
        for supply in self._supplies:
            for attempt in list(supply.begun.values()):
                cut = JobCancelled("the worker ended before the job did")
                cut.may_have_run = True
                self._settle(supply, attempt, cut)
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as leaving:
                for supply in self._supplies:
                    leaving.start_soon(supply.leave)


def _by_name(tasks: Iterable[Task]) -> dict[str, Task]:
    if isinstance(tasks, Task):
        raise ConfigurationError(f"Worker(tasks) must be a sequence of Tasks, not one; write [{tasks.name}]")
    found: dict[str, Task] = {}
    for task in tasks:
        if not isinstance(task, Task):
            raise ConfigurationError(f"Worker(tasks) must be Tasks, as in [Task(name, script)], not {task!r}")
        if found.setdefault(task.name, task) is not task:
            raise ConfigurationError(f"Worker(tasks) has two tasks called {task.name!r}; rename one")
    return found


def _lanes(tasks: Iterable[Task], queues: Mapping[str, int] | None) -> tuple[Lane, ...]:
    by_queue: dict[str, list[Limits]] = {}
    for task in tasks:
        rate = None if task.rate is None else (task.rate.count, task.rate.per)
        by_queue.setdefault(task.queue, []).append(
            Limits(task=task.name, on_loss=task.on_loss, attempts=task.attempts, rate=rate, running=task.running)
        )
    weights = dict.fromkeys(by_queue, 1) if queues is None else dict(queues)
    for queue, weight in weights.items():
        check_whole(f"Worker(queues[{queue!r}])", weight, least=1)
    unknown = sorted(set(weights) - set(by_queue))
    if not weights or unknown:
        raise ConfigurationError(
            f"Worker(queues) names {', '.join(unknown)}, and no task has that queue"
            if unknown
            else "Worker(tasks) is empty; give it at least one Task"
        )
    return tuple(Lane(queue=queue, weight=weight, tasks=tuple(by_queue[queue])) for queue, weight in weights.items())


def _by_database(
    jobs: Jobs | Databases, lanes: Sequence[Lane], crons: Sequence[Cron]
) -> Iterator[tuple[Jobs, tuple[Lane, ...], tuple[Cron, ...]]]:
    """Yield each database that has a queue or a schedule of the worker's."""
    if isinstance(jobs, Jobs):
        yield jobs, tuple(lanes), tuple(crons)
        return
    for database in jobs.all:
        own = tuple(lane for lane in lanes if jobs.of(lane.queue) is database)
        scheduled = tuple(cron for cron in crons if jobs.of(cron.task) is database)
        if own or scheduled:
            yield database, own, scheduled


def _new_worker_id() -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:60] or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
