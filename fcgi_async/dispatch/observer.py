"""The seam for telemetry: observers are told about each job when it is submitted and when it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Protocol

import attrs

from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.terms import Terms
from fcgi_async.errors import FastCGIError
from fcgi_async.job.job import Job
from fcgi_async.job.php_error import is_php_error
from fcgi_async.job.response import Response, Timing
from fcgi_async.job.success_mark import is_marked
from fcgi_async.pool.sink import StreamingSink

__all__ = ("JobObservation", "JobReport", "Observed", "Observer", "observe")

logger = logging.getLogger("fcgi_async.dispatch")


@attrs.frozen(eq=False)
class JobReport:
    """How a job ended.

    Attributes:
        job: the job that was run.
        endpoint: the address that answered, or failed; None if none was chosen.
        attempts: how many times the job was sent; 0 if no worker took it.
        timing: where the time went; if no worker took the job, all of it is `queued`.
        accepted: whether a worker took it.
        connected: seconds from the call until the connection that was opened for this job was ready; None for a kept
            connection, negative if it was opened for an earlier job.
        view: the name of the view that it was submitted to; None if the view has none.
        ok: whether there is a response, and it is ok, as `Response.ok` and `ResponseStream.ok` define it.
        php_error: whether PHP failed: a response with status 500 or above, or with a fatal error in STDERR.
        response: None if there is an error; without the content for a stream.
        error: None if there is a response.
    """

    job: Job
    endpoint: str | None
    attempts: int
    timing: Timing
    accepted: bool
    connected: float | None
    view: str | None
    ok: bool
    php_error: bool
    response: Response | None
    error: FastCGIError | None


class JobObservation(Protocol):
    """Follows one job. It is synchronous and called during dispatching, so it must be quick.

    Attributes:
        params: FastCGI parameters that are sent with the job, unless the job sets them itself; PHP sees them in
            `$_SERVER`. Those that a job may not set are not sent, and that is logged.
    """

    @property
    def params(self) -> Mapping[str, str]: ...

    def done(self, report: JobReport) -> None:
        """Called once, when the job has ended, in no particular context."""


class Observer(Protocol):
    """Sees every job of a dispatcher. It is synchronous; what it raises is logged and does not affect the jobs."""

    def job_submitted(self, job: Job) -> JobObservation:
        """Return the observation of a job that is about to be queued.

        Called with the context variables of the submitting task; for `run_all()` and `map()`, of their caller.
        """


@attrs.frozen(eq=False)
class Observed:
    """The observations of one job: the parameters that they add, and the call at its end."""

    observations: Sequence[JobObservation]
    params: Mapping[str, str]

    def before(self, on_done: Callable[[Execution], None]) -> Callable[[Execution], None]:
        """Return a callback for the end of the job that tells the observations first."""

        def done(execution: Execution) -> None:
            self.tell(_report(execution))
            on_done(execution)

        return done

    def tell(self, report: JobReport) -> None:
        """Tell them how the job ended."""
        for observation in self.observations:
            try:
                observation.done(report)
            except Exception:
                logger.exception("the observation %r failed", observation)


def observe(terms: Terms[Execution], observers: Sequence[Observer], job: Job, context: Context | None) -> Observed:
    """Show observers a job that is about to be queued, and return their observations.

    Args:
        terms: the terms of the job; they decide which parameters may be sent with it.
        observers: the observers to call.
        job: the submitted job.
        context: the caller's context variables; None for the current ones.
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
                # an observer may not add what a job may not send
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
        execution.terms.view,
        response is not None and _is_ok(response, execution.stream),
        response is not None and is_php_error(response.status, response.stderr),
        response,
        error,
    )


def _is_ok(response: Response, stream: StreamingSink | None) -> bool:
    end = None if stream is None else stream.end
    if end is None:
        return response.ok
    return response.status < 400 and response.app_status == 0 and is_marked(end.tail, end.mark)
