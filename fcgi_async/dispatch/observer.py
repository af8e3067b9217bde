"""The seam for telemetry: who is told of each job when it is handed in and when it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Protocol

import attrs

from fcgi_async.dispatch.execution import Execution, Terms
from fcgi_async.errors import FastCGIError
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response, Timing
from fcgi_async.job.success_mark import is_marked
from fcgi_async.pool.sink import StreamingSink

__all__ = ("JobObservation", "JobReport", "Observed", "Observer", "observe")

logger = logging.getLogger("fcgi_async.dispatch")


@attrs.frozen(eq=False)
class JobReport:
    """How a job ended.

    Attributes:
        job: what was asked.
        endpoint: the address that answered, or failed; None where none had been chosen.
        attempts: how often the job was sent; 0 where no worker took it.
        timing: where the time went; of a job that no worker took, all of it is `queued`.
        accepted: whether a worker took it.
        connected: seconds from the call until the connection was there that was new for this job; None on a kept one,
            and negative where it was opened for a job before.
        ok: whether there is a response, and it is ok, as `Response.ok` and `ResponseStream.ok` have it.
        response: None where there is an error; of a stream, without the content.
        error: None where there is a response.
    """

    job: Job
    endpoint: str | None
    attempts: int
    timing: Timing
    accepted: bool
    connected: float | None
    ok: bool
    response: Response | None
    error: FastCGIError | None


class JobObservation(Protocol):
    """Follows one job. Synchronous, and called in the midst of dispatching: it must be quick.

    Attributes:
        params: FastCGI parameters that are sent with the job, unless the job itself has such; PHP sees them in
            `$_SERVER`. Those that a job may not have are not sent, and that is logged.
    """

    @property
    def params(self) -> Mapping[str, str]: ...

    def done(self, report: JobReport) -> None:
        """Called once, when the job is over, in no particular context."""


class Observer(Protocol):
    """Sees every job of a dispatcher. Synchronous; what it raises is logged, and does the jobs no harm."""

    def job_submitted(self, job: Job) -> JobObservation:
        """Return what follows a job that is about to be queued.

        Called with the context variables of whoever submitted it; of `run_all()` and `map()`, of their caller.
        """


@attrs.frozen(eq=False)
class Observed:
    """The observations of one job: what they add to it, and how they are told of its end."""

    observations: Sequence[JobObservation]
    params: Mapping[str, str]

    def before(self, on_done: Callable[[Execution], None]) -> Callable[[Execution], None]:
        """Return what is called at the end of the job, so that they are told first."""

        def done(execution: Execution) -> None:
            report = _report(execution)
            for observation in self.observations:
                try:
                    observation.done(report)
                except Exception:
                    logger.exception("the observation %r failed", observation)
            on_done(execution)

        return done


def observe(terms: Terms, observers: Sequence[Observer], job: Job, context: Context | None) -> Observed:
    """Show observers a job that is about to be queued, and return what they make of it.

    Args:
        terms: what the job is run on, and with them what may be sent with it.
        observers: who is told.
        job: what was handed in.
        context: of whoever handed it in; None for the current one.
    """
    observations: list[JobObservation] = []
    params: dict[str, str] = {}
    for observer in observers:
        submitted = observer.job_submitted
        try:
            observation = submitted(job) if context is None else context.run(submitted, job)
            observations.append(observation)
            added = observation.params
            if added:
                # what a job may not send, nobody sends with it
                terms.check(Job(job.script, params=added))
                params.update(added)
        except Exception:
            logger.exception("the observer %r failed", observer)
    return Observed(observations, params)


def _report(execution: Execution) -> JobReport:
    response, error = execution.response, execution.error
    endpoint = response.endpoint if response is not None else error.endpoint if error is not None else None
    return JobReport(
        execution.job,
        endpoint,
        execution.attempts,
        execution.timing_so_far() if response is None else response.timing,
        execution.attempt is not None,
        execution.connected,
        response is not None and _is_ok(response, execution.stream),
        response,
        error,
    )


def _is_ok(response: Response, stream: StreamingSink | None) -> bool:
    end = None if stream is None else stream.end
    if end is None:
        return response.ok
    return response.status < 400 and response.app_status == 0 and is_marked(end.tail, end.mark)
