"""Whether a dispatcher takes jobs, and what takes them: what a dispatcher and its views have in common."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import attrs

from fcgi_async.dispatch.observer import Observer
from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.dispatch.unretrieved import UnretrievedErrors
from fcgi_async.errors import ConfigurationError, DispatcherClosed
from fcgi_async.job.job import Job
from fcgi_async.job.settings import UNSET, Limits, Timeout, check_timeout
from fcgi_async.pool.endpoint import Endpoint

__all__ = ("OPEN", "Opening", "State", "check_seconds")


class State(StrEnum):
    """What a dispatcher is, in the words of its errors."""

    NEW = "not entered yet; use `async with Dispatcher(...) as php:`"
    OPENING = "being entered"
    OPEN = "open"
    CLOSING = "closing and takes no more jobs"
    CLOSED = "closed"


# a plain name: on Python 3.11 looking up a member of an enum costs more than what is done with it
OPEN = State.OPEN


@attrs.define(eq=False)
class Opening:
    """Of one dispatcher.

    Args:
        endpoints: the FPM pools; once it is entered, with `max_children` where the peer told it.
        limits: how much a peer may send.
        overflow: what happens to a job for which the queue has no room: "wait" or "reject".
    """

    endpoints: tuple[Endpoint, ...]
    limits: Limits
    overflow: Literal["wait", "reject"]
    state: State = attrs.field(default=State.NEW, init=False)
    # there from entering on
    scheduler: Scheduler | None = attrs.field(default=None, init=False)
    unretrieved: UnretrievedErrors | None = attrs.field(default=None, init=False)
    observers: tuple[Observer, ...] = attrs.field(default=(), init=False)

    def require(self, job: Job | None = None) -> Scheduler:
        """Return the scheduler.

        Raises:
            DispatcherClosed: the dispatcher takes no jobs.
            ConfigurationError: this is not its event loop.
        """
        if self.scheduler is None or self.state is not OPEN:
            raise self.refusal(job)
        self.scheduler.backend.check_here()
        return self.scheduler

    def refusal(self, job: Job | None) -> DispatcherClosed:
        """Return the error for whoever asks a dispatcher that takes no jobs."""
        return DispatcherClosed(f"the dispatcher is {self.state.value}", job=job)


def check_seconds(name: str, value: Timeout) -> float | None:
    """Return a deadline; raise ConfigurationError where it is no number of seconds."""
    try:
        check_timeout(name, value)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return None if value is UNSET else value
