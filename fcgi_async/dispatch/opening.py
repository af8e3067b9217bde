"""The state of a dispatcher, which its views share: whether it takes jobs, and the scheduler that takes them."""

from __future__ import annotations

from enum import StrEnum
from os import PathLike
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
    """The states of a dispatcher, in the words of its errors."""

    NEW = "not entered yet; use `async with Dispatcher(...) as php:`"
    OPENING = "being entered"
    OPEN = "open"
    CLOSING = "closing and takes no more jobs; submit them before the end of its `async with` block"
    CLOSED = "closed; run jobs inside its `async with` block, or enter a new one"


# a plain name: on Python 3.11, looking up a member of an enum costs more than using it
OPEN = State.OPEN


@attrs.define(eq=False)
class Opening:
    """The state of one dispatcher.

    Args:
        endpoints: the FPM pools; after entering, they have the `max_children` that a peer reported.
        limits: how much a peer may send.
        overflow: what happens to a job if the queue is full: "wait" or "reject".
        call_script: the script that serves calls of PHP functions.
    """

    endpoints: tuple[Endpoint, ...]
    limits: Limits
    overflow: Literal["wait", "reject"]
    call_script: str | PathLike[str] | None = None
    state: State = attrs.field(default=State.NEW, init=False)
    # set on entering
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
        """Return the error of a call while the dispatcher takes no jobs."""
        return DispatcherClosed(f"the dispatcher is {self.state.value}", job=job)


def check_seconds(name: str, value: Timeout) -> float | None:
    """Return `value` as a deadline; raise ConfigurationError if it is not a number of seconds."""
    try:
        check_timeout(name, value)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return None if value is UNSET else value
