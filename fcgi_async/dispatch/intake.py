"""The other ways to submit jobs, besides `run()` and `run_all()`, which a dispatcher and its views have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import anyio
import anyio.lowlevel

from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.group import JobGroup
from fcgi_async.dispatch.handle import JobHandle
from fcgi_async.dispatch.held_slot import HeldSlot
from fcgi_async.dispatch.jobs_given import Jobs
from fcgi_async.dispatch.opening import OPEN, check_seconds
from fcgi_async.dispatch.outcomes import OutcomeStream, check_limit
from fcgi_async.dispatch.relay import RawRequest, Relay, RelayOutput
from fcgi_async.dispatch.reservation import Reservation
from fcgi_async.dispatch.running import Running
from fcgi_async.dispatch.stream import StreamManager
from fcgi_async.dispatch.watched_relay import watch
from fcgi_async.errors import ConfigurationError, FastCGIError
from fcgi_async.job.job import Job
from fcgi_async.job.numbers import is_whole
from fcgi_async.job.settings import UNSET, Timeout
from fcgi_async.job.success_mark import BodyEnd
from fcgi_async.job.tag import Tag
from fcgi_async.net.backend import Backend
from fcgi_async.pool.sink import StreamingSink

__all__ = ("Intake",)


class Intake(Running):
    """Takes jobs, with defaults for what a job does not set itself."""

    def stream(self, job: Job, *, timeout: Timeout = UNSET) -> StreamManager:
        """Run one job and read its response while PHP writes it: `async with php.stream(job) as response:`.

        Entering waits for the response's head, and raises what `run()` does. Leaving before the end discards what comes
        within 20 ms and then refuses the rest, which ends a script at its next write.
        """

        return self._stream(job, lambda sink: self._start(job, _nothing, stream=sink, timeout=timeout))

    def map(self, jobs: Jobs[Tag], *, ordered: bool = True, limit: int | None = None) -> OutcomeStream[Tag]:
        """Run jobs and iterate over their outcomes as they come.

            async with php.map(jobs) as outcomes:
                async for outcome in outcomes: ...

        Args:
            jobs: an iterable or async iterable, which may be endless; it is read as outcomes are read.
            ordered: whether outcomes come in the order of the jobs, or as jobs finish.
            limit: most jobs that are submitted and whose outcomes are not read yet. The default is twice the share plus
                two, not counting outcomes that came before their turn, up to 1,000 of them or 16 MiB of content: so one
                slow job does not hold up the workers.

        Leaving the block cancels the jobs whose outcomes were not read. `outcomes.stop()` reads no more jobs and
        cancels those that no worker has taken, with `cancel=True` the running ones too; the outcomes of all jobs taken
        from the iterable still come. A failed job is an outcome, never an exception. If the dispatcher takes no more
        jobs, the outcomes of those already taken come first, and then DispatcherClosed is raised.

        Raises:
            ConfigurationError: `limit` is less than 1.
            DispatcherClosed: the dispatcher is closed.
        """
        require = self._opening.require
        return OutcomeStream(self._starter(), require, require().backend, jobs, ordered, self._window(), limit)

    def group(self, *, limit: int | None = None, on_error: Literal["cancel", "collect"] = "cancel") -> JobGroup:
        """Return a group of jobs: `async with php.group() as group: handle = await group.submit(job)`.

        Args:
            limit: most of its jobs that are outstanding at a time; None for the queue's limit only.
            on_error: "cancel" behaves like a task group; "collect" never raises for a job.
        """
        if on_error not in ("cancel", "collect"):
            raise ConfigurationError(f'on_error must be "cancel" or "collect", not {on_error!r}')
        check_limit(limit)
        scheduler, unretrieved = self._opening.require(), self._opening.unretrieved
        assert unretrieved is not None

        async def submit(job: Job) -> JobHandle:
            return await self._submit(job, None)

        return JobGroup(submit, unretrieved.add, scheduler.backend, limit, on_error)

    async def submit(self, job: Job[Tag]) -> JobHandle[Tag]:
        """Queue a job and return its handle. Await it now, later or never: the job belongs to the dispatcher.

        Waits while the queue is full. An error that is never retrieved is logged and passed to `on_job_error`.

        Raises:
            InvalidJob: the job can never be sent.
            QueueFull: the queue is full, and `overflow` is "reject".
            DispatcherClosed: the dispatcher is closed.

        Cancelling submits nothing.
        """
        await anyio.lowlevel.checkpoint()
        unretrieved = self._opening.unretrieved
        return await self._submit(job, None if unretrieved is None else unretrieved.add)

    def slot(self, *, priority: int = 0, queue_timeout: Timeout = UNSET) -> HeldSlot:
        """Take a worker before its job is known: `async with php.slot() as slot: await slot.run(job)`.

        Entering waits in the queue like a job. From then on the worker is reserved, and nothing is written to it: so a
        program that takes jobs from elsewhere can take one only when it can start at once. Leaving without a job gives
        the worker back.

        Args:
            priority: higher comes first, also before slots and jobs that came earlier; 0 means the view's own.
            queue_timeout: seconds to wait for a worker; overrides the dispatcher's.

        Raises:
            ConfigurationError: the priority is not a whole number, or the deadline is not a number of seconds.
            DispatcherClosed: the dispatcher is closed.
        """
        if not is_whole(priority):
            raise ConfigurationError(f"slot(priority) must be a whole number, not {priority!r}")
        self._opening.require()
        seconds = check_seconds("queue_timeout", self._timeouts.queue if queue_timeout is UNSET else queue_timeout)
        wanted = priority or self._priority
        return HeldSlot(lambda: self._reserve(wanted, seconds), self._start_held, self._stream)

    def room(self, *, priority: int = 0) -> int:
        """Return how many jobs would start at once if they were submitted now.

        It is 0 while a job of the same or a higher priority waits, and while the dispatcher is paused. Workers whose
        endpoint cannot be reached count. Another caller may take them in the next moment; `slot()` reserves one.

        Args:
            priority: priority of those jobs; it decides about slots that `Endpoint.kept` keeps. 0 means the view's own.

        Raises:
            DispatcherClosed: the dispatcher is closed.
        """
        return self._opening.require().room.room(priority or self._priority)

    async def wait_room(self, n: int, *, priority: int = 0) -> None:
        """Wait until `room()` is at least `n`.

        Args:
            n: number of jobs.
            priority: as for `room()`.

        Raises:
            ConfigurationError: there is never that much room: the share, less the slots kept for higher priorities, is
                smaller.
            DispatcherClosed: the dispatcher is, or was meanwhile, closed.
        """
        await anyio.lowlevel.checkpoint()
        wanted = priority or self._priority
        most = sum(pool.peer.ledger.most(wanted) for pool in self._opening.require().pools)
        if not is_whole(n) or n > most:
            raise ConfigurationError(
                f"wait_room(n) must be a whole number, at most {most} for a job of priority {wanted}; not {n!r}"
            )
        while (scheduler := self._opening.require()).room.room(wanted) < n:
            await scheduler.room.wait(n, wanted)

    def _for_gateway(self) -> tuple[Backend, int]:
        """Return the event loop, and how many requests may be queued; raise DispatcherClosed if it is closed."""
        scheduler = self._opening.require()
        return scheduler.backend, scheduler.queue.bound

    def _relay(self, request: RawRequest, output: RelayOutput, priority: int) -> Relay:
        """Queue another client's request, for the gateway; raises QueueFull and DispatcherClosed."""
        opening = self._opening
        scheduler = opening.scheduler
        if scheduler is None or opening.state is not OPEN:
            raise opening.refusal(None)
        if scheduler.queue.full:
            self._require_room(scheduler, None)
        followed = None
        if opening.observers:
            terms = self._terms or self._set_terms(scheduler)
            request, followed = watch(request, output, opening.observers, terms, opening.limits)
            output = followed
        relay = Relay(request, scheduler.relay_terms, self._timeouts, output, priority or self._priority)
        if followed is not None:
            relay.on_over = followed.over
        scheduler.relay(relay)
        return relay

    # shared by the methods above

    def _start_held(
        self,
        job: Job,
        on_done: Callable[[Execution], None],
        stream: StreamingSink | None,
        timeout: Timeout,
        held: Reservation,
    ) -> Execution:
        self._opening.require(job)
        return self._start(job, on_done, stream=stream, timeout=timeout, may_reject=False, held=held)

    def _stream(self, job: Job, begin: Callable[[StreamingSink], Execution]) -> StreamManager:
        def start() -> tuple[Execution, StreamingSink]:
            sink = StreamingSink(self._opening.limits.head, self._opening.require(job).backend.waiter)
            execution = begin(sink)
            sink.attach(execution)
            if job.success_mark is not None:
                sink.end = BodyEnd(job.success_mark)
            return execution, sink

        return StreamManager(start)

    def _reserve(self, priority: int, seconds: float | None) -> Reservation:
        scheduler = self._opening.require()
        if self._opening.overflow == "reject":
            self._require_room(scheduler, None)
        return scheduler.reserve(priority, seconds)

    async def _submit(self, job: Job[Tag], on_unretrieved: Callable[[FastCGIError], None] | None) -> JobHandle[Tag]:
        backend = self._opening.require(job).backend
        handle = JobHandle(job, backend, on_unretrieved)
        execution = self._start(job, handle._settle)
        handle._begun(execution)
        if execution.outside and not execution.done:
            await handle._wait_inside(execution)
        return handle


def _nothing(execution: Execution) -> None:
    """Do nothing: the sink tells the reader of a stream about its end."""
