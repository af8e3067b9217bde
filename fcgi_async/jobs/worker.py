"""Worker: runs durable jobs on the PHP workers of a dispatcher.

Theory of operation. A runner for each PHP worker takes one (`Dispatcher.slot()`), is fed a job (feed.py), runs it, and
hands its end to the settler (settler.py), which writes it while the next job runs already. So never more jobs are
claimed than there are PHP workers in hand, and `ahead`. A watcher hears bells and looks once in a while; a tender looks
for workers that are lost, and deletes what need not be kept.
"""

from __future__ import annotations

import logging
import os
import random
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial

import anyio

from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.held_slot import HeldSlot
from fcgi_async.errors import ConfigurationError, DispatcherClosed, FastCGIError, InvalidJob, JobCancelled
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.jobs.checks import check_number, check_whole
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.clock import Clock, check_crons
from fcgi_async.jobs.doubt import Doubt
from fcgi_async.jobs.errors import PayloadTooLarge, StoreError, StoreFull, StoreUnavailable
from fcgi_async.jobs.feed import Feed
from fcgi_async.jobs.observer import Attempt, Tally, WorkerObserver, WorkerStatistics, begin
from fcgi_async.jobs.outcome import settle_attempt
from fcgi_async.jobs.record import Claimed, Lane, Limits
from fcgi_async.jobs.schedule import Cron
from fcgi_async.jobs.settler import Settler
from fcgi_async.jobs.task import Task

__all__ = ("Worker",)

logger = logging.getLogger("fcgi_async.jobs")

# seconds between looks at the database when no bell is heard, and between searches for lost workers
_LOOK = 1.0
_TEND = 0.5
# seconds for settling what was cancelled
_LAST_WORDS = 5.0
# seconds until a PHP-FPM that cannot be reached is tried again
_FPM_PAUSE = 0.5
_SWEEP = 1000
# seconds between counts of what is in the database, for those who observe
_COUNT = 15.0


class Worker:
    """Takes jobs from a database and runs them on PHP-FPM.

        async with Dispatcher(endpoint) as php, Jobs(url) as jobs:
            await Worker(php, jobs, tasks=[mail, report]).run()

    Args:
        php: whose PHP workers it uses; others may use them too.
        jobs: the database.
        tasks: what it runs; jobs of other tasks are left to other workers.
        schedules: what it puts by the clock; its tasks may be other workers'.
        queues: the weights of the queues that it serves, 1 or more each; None serves those of its tasks alike.
        ahead: how many jobs are claimed beside one for each PHP worker in hand, 0 or more: the claim's way to the
            database and back is then over when a PHP worker becomes free.
        priority: of its jobs in the dispatcher; below that of others' jobs, so that these are not held up.
        shutdown_timeout: seconds that jobs which run have to end after `stop()`; None for any time.
        keep_done: seconds for which jobs that are done stay in the database at least, 0 or more.

    Raises:
        ConfigurationError: an argument is out of its range, or no queue has a task.
    """

    def __init__(
        self,
        php: Dispatcher,
        jobs: Jobs,
        tasks: Iterable[Task],
        *,
        schedules: Iterable[Cron] = (),
        queues: Mapping[str, int] | None = None,
        ahead: int = 1,
        priority: int = -1,
        shutdown_timeout: float | None = 30.0,
        keep_done: float = 600.0,
    ) -> None:
        check_whole("Worker(ahead)", ahead, least=0)
        check_number("Worker(shutdown_timeout)", shutdown_timeout, least=0, optional=True)
        check_number("Worker(keep_done)", keep_done, least=0)
        self._tasks = _by_name(tasks)
        self._lanes = _lanes(self._tasks.values(), queues)
        self.id = _new_worker_id()
        self._php, self._jobs, self._store = php, jobs, jobs.store
        self._ahead, self._priority = ahead, priority
        self._shutdown_timeout, self._keep_done = shutdown_timeout, keep_done
        self._params = self._store.php_params()
        # claimed, and perhaps run
        self._begun: dict[int, Attempt] = {}
        self._settler = Settler(self._store, self.id)
        self._feed = Feed(self._store, self.id, self._lanes, ahead, self._settler)
        self._clock = Clock(self._store, check_crons(schedules))
        self._doubt = Doubt(php, self._store)
        self._observers: list[WorkerObserver] = []
        self._tally = Tally()
        self._stopping = anyio.Event()
        self._failure: Exception | None = None
        self._started = False

    def __repr__(self) -> str:
        return f"<Worker {self.id} with {self.in_hand} jobs in hand>"

    @property
    def in_hand(self) -> int:
        """How many jobs are claimed and not settled yet."""
        return len(self._settler.held)

    def stop(self) -> None:
        """Take no more jobs, finish those that run within `shutdown_timeout`, and give the others back."""
        self._stopping.set()
        self._feed.close()

    @property
    def php(self) -> Dispatcher:
        """Whose PHP workers it uses."""
        return self._php

    def observe(self, observer: WorkerObserver) -> None:
        """Have an observer told of each attempt from now on; telemetry does it by `instrument_worker()`."""
        self._observers.append(observer)

    def statistics(self) -> WorkerStatistics:
        """Return what it does and has done; free to call, from any thread."""
        tally = self._tally
        return WorkerStatistics(
            in_hand=self.in_hand,
            claimed=tally.claimed,
            ended=dict(tally.ended),
            lost=self._settler.lost,
            recovered=tally.recovered,
            counts=tally.counts,
        )

    async def run(self) -> None:
        """Run jobs until `stop()`.

        A database that is away is waited for; so is PHP-FPM.

        Raises:
            ConfigurationError: it was run before, or the dispatcher cannot work as configured.
            StoreUnavailable: the database cannot be reached at the beginning.
            StoreCorrupt: it is damaged.
            SchemaMismatch: it was migrated by a later release.
            DispatcherClosed: the dispatcher was closed.

        Cancelling stops at once: jobs that run may have run, and are settled so; the others are given back.
        """
        if self._started:
            raise ConfigurationError("a Worker runs once; make another one")
        self._started = True
        runners = max(self._php.statistics().share, 1)
        self._settler.most = 2 * runners + self._ahead
        await self._store.register(self.id, self._lanes)
        await self._clock.begin()
        try:
            async with anyio.create_task_group() as services:
                guard = partial(self._guard, services.cancel_scope)
                for service in (
                    self._settler.run,
                    self._watch,
                    self._look_when_due,
                    self._tend,
                    self._renew,
                    self._clock.run,
                    self._count,
                ):
                    services.start_soon(guard, service)
                async with anyio.create_task_group() as feeding:
                    feeding.start_soon(guard, self._feed.run)
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

    async def _guard(self, scope: anyio.CancelScope, service: Callable[[], Awaitable[None]]) -> None:
        """Run a part of the worker; its error ends all of them, and is raised as it is."""
        try:
            await service()
        except Exception as error:
            self._failure = self._failure or error
            scope.cancel()

    # running

    async def _run_jobs(self) -> None:
        complained = False
        while True:
            await self._settler.room()
            if not await self._feed.gate():
                return
            fed = False
            try:
                async with self._php.slot(priority=self._priority) as slot:
                    fed = True
                    claimed = await self._feed.next()
                    if claimed is not None:
                        await self._attempt(slot, claimed)
                complained = False
            except (DispatcherClosed, ConfigurationError):
                raise
            except FastCGIError as error:
                if not fed:
                    self._feed.turn()
                if not complained:
                    logger.warning("no PHP worker for durable jobs: %s", error)
                complained = True
                await anyio.sleep(_FPM_PAUSE)

    async def _attempt(self, slot: HeldSlot, claimed: Claimed) -> None:
        put_off = await self._doubt.hold(self._tasks[claimed.task], claimed)
        if put_off is not None:
            self._settler.add(put_off)
            return
        self._tally.claimed += 1
        attempt = begin(self._observers, claimed, time.monotonic() - claimed.taken)
        claimed = attempt.claimed
        task = self._tasks[claimed.task]
        ended: Response[str] | FastCGIError
        try:
            job = self._job(task, claimed)
        except (InvalidJob, PayloadTooLarge) as error:
            ended = error
        else:
            self._begun[claimed.number] = attempt
            self._store.begun(self.id, claimed)
            try:
                with attempt.running():
                    ended = await slot.run(job)
            except FastCGIError as error:
                ended = error
        self._settle(task, attempt, ended)

    def _job(self, task: Task, claimed: Claimed) -> Job[str]:
        most = self._jobs.payload_limit
        # whoever may INSERT is not bound by the limit of those who enqueue
        if len(claimed.data) > most:
            raise PayloadTooLarge(f"the data of job {claimed.id!r} is longer than payload_limit={most}")
        return task.job(claimed, self._params)

    def _settle(self, task: Task, attempt: Attempt, ended: Response[str] | FastCGIError) -> None:
        claimed = attempt.claimed
        settlement = settle_attempt(task, claimed, ended, now=time.time(), keep=self._keep_done)
        self._settler.add(settlement)
        self._begun.pop(claimed.number, None)
        self._tally.ended[settlement.state] = self._tally.ended.get(settlement.state, 0) + 1
        attempt.done(settlement)
        if settlement.state not in ("done", "ready"):
            logger.warning("job %s of task %s is %s: %s", claimed.id, claimed.task, settlement.state, settlement.error)

    # around it

    async def _watch(self) -> None:
        heard = await self._store.wait("work", -1, 0)
        while True:
            # others' looks come at other times
            now = await self._store.wait("work", heard, _LOOK * random.uniform(0.8, 1.2))
            if now != heard:
                heard = now
                self._feed.ring()
                continue
            with suppress(StoreUnavailable, StoreFull):
                await self._feed.look()

    async def _look_when_due(self) -> None:
        while True:
            await self._feed.until_due()
            with suppress(StoreUnavailable, StoreFull):
                await self._feed.look()

    async def _tend(self) -> None:
        while True:
            try:
                recovered = await self._store.recover()
                self._tally.recovered += recovered
                if recovered:
                    self._doubt.watch()
                    logger.warning("%d jobs of a worker that is lost were taken back", recovered)
                await self._doubt.explain()
                while await self._store.sweep() == _SWEEP:
                    pass
            except (StoreUnavailable, StoreFull) as error:
                logger.debug("the database cannot be tended: %s", error)
            await anyio.sleep(_TEND * random.uniform(0.8, 1.2))

    async def _count(self) -> None:
        while True:
            if self._observers:
                with suppress(StoreUnavailable, StoreFull):
                    self._tally.counts = await self._store.counts()
            await anyio.sleep(_COUNT if self._observers else _LOOK)

    async def _renew(self) -> None:
        each = self._store.renewed_each()
        while each is not None:
            await anyio.sleep(each)
            with suppress(StoreUnavailable, StoreFull):
                if not await self._store.renew(self.id):
                    logger.error("this worker was taken for dead, and its jobs were given to others")
                    await self._store.register(self.id, self._lanes)

    async def _limit_shutdown(self, running: anyio.CancelScope) -> None:
        await self._stopping.wait()
        if self._shutdown_timeout is not None:
            await anyio.sleep(self._shutdown_timeout)
            running.cancel()

    async def _leave(self) -> None:
        """Settle what has ended or was cut short, and give back what was not begun."""
        self._feed.close()
        for attempt in list(self._begun.values()):
            cut = JobCancelled("the worker ended before the job did")
            cut.may_have_run = True
            self._settle(self._tasks[attempt.claimed.task], attempt, cut)
        with anyio.move_on_after(_LAST_WORDS, shield=True) as scope:
            try:
                await self._settler.write_rest()
                await self._store.leave(self.id)
            except StoreError as error:
                logger.warning("the worker left without giving its jobs back; another one will: %s", error)
        if scope.cancelled_caught:
            logger.warning("the worker left without giving its jobs back in %g s; another one will", _LAST_WORDS)


def _by_name(tasks: Iterable[Task]) -> dict[str, Task]:
    found: dict[str, Task] = {}
    for task in tasks:
        if not isinstance(task, Task):
            raise ConfigurationError(f"Worker(tasks) must be Tasks, not {task!r}")
        if found.setdefault(task.name, task) is not task:
            raise ConfigurationError(f"Worker(tasks) has two tasks called {task.name!r}")
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
            f"Worker(queues) names {', '.join(unknown)}, and no task is in it" if unknown else "Worker(tasks) is empty"
        )
    return tuple(Lane(queue=queue, weight=weight, tasks=tuple(by_queue[queue])) for queue, weight in weights.items())


def _new_worker_id() -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:60] or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
