"""The terms of jobs that are submitted in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from fcgi_async.dispatch.deadlines import Deadlines
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.dispatch.timed import Timed
from fcgi_async.errors import FastCGIError, QueueTimeout
from fcgi_async.job.job import Job
from fcgi_async.job.settings import Limits, Timeouts
from fcgi_async.net.backend import Backend
from fcgi_async.pool.peer import Peer

__all__ = ("Terms",)

_SCRIPTS_KEPT = 1024

E = TypeVar("E", bound=Timed)


class Terms(Generic[E]):
    """The terms of jobs that are submitted in one place: to a dispatcher, or to one of its views.

    Args:
        backend: the event loop.
        limits: how much a peer may send.
        encoders: one for each peer.
        idempotent: whether running any of the jobs twice does no harm.
        timeouts: deadlines for jobs that set none.
        view: the view's name in telemetry; None if it has no name.
        try_again: queues an execution again if that is allowed; takes its error and whether PHP may have run it.
        settled: called when an execution has ended; the argument tells whether it was still waiting.
        overdue: returns the error of a job that no worker took in time; takes the seconds that the job waited.

    Attributes:
        known: scripts that are known to be allowed, for jobs that set nothing else.
        deadlines: the deadlines of jobs whose only time limit is `timeouts.total`.
    """

    __slots__ = (
        "_encoders",
        "backend",
        "deadlines",
        "encoders",
        "idempotent",
        "known",
        "limits",
        "now",
        "overdue",
        "settled",
        "try_again",
        "view",
    )

    def __init__(
        self,
        backend: Backend,
        limits: Limits,
        encoders: Mapping[Peer, RequestEncoder],
        idempotent: bool,
        timeouts: Timeouts,
        view: str | None,
        try_again: Callable[[E, FastCGIError, bool], bool],
        settled: Callable[[E, bool], None],
        overdue: Callable[[float], QueueTimeout],
    ) -> None:
        self.backend, self.now, self.limits = backend, backend.now, limits
        self.encoders, self.idempotent, self.view = encoders, idempotent, view
        self.try_again, self.settled, self.overdue = try_again, settled, overdue
        self._encoders = tuple(encoders.values())
        self.known: set[str] = set()
        self.deadlines: Deadlines[E] = Deadlines(backend, timeouts.total)

    def check(self, job: Job) -> None:
        """Raise InvalidJob if an endpoint would refuse the job."""
        for encoder in self._encoders:
            encoder.check(job)
        if len(self.known) >= _SCRIPTS_KEPT:
            self.known.clear()
        self.known.add(job.script)
