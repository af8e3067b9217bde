"""A worker that is waited for, and held, before the job that it will run is known."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import attrs

from fcgi_async.dispatch.deadlines import Deadlines
from fcgi_async.errors import FastCGIError, QueueTimeout
from fcgi_async.net.backend import Backend, Waiter
from fcgi_async.net.connection import Connection
from fcgi_async.pool.pool import Pool
from fcgi_async.pool.slots import Slot

__all__ = ("Reservation", "ReservationOwner")


class _State(StrEnum):
    WAITING = "waiting"
    HELD = "held"
    OVER = "over"


class ReservationOwner(Protocol):
    """Who queues reservations; synchronous."""

    backend: Backend
    deadlines: Deadlines

    def reservation_held(self, reservation: Reservation) -> None:
        """Take note that a worker was taken for it."""

    def reservation_over(self, reservation: Reservation, *, held: bool) -> None:
        """Take note that it waits no longer, or holds no worker any more."""


@attrs.define(eq=False)
class Reservation:
    """Stands in the queue as a job does, and keeps the worker that is then assigned to it. All synchronous.

    Args:
        owner: who queues it.
        priority: higher comes first.
        queue_timeout: seconds until it is given up, while it waits; None for no limit.
    """

    owner: ReservationOwner
    priority: int
    queue_timeout: float | None
    error: FastCGIError | None = attrs.field(default=None, init=False)
    # done once a worker is held, or there is an error
    granted: Waiter = attrs.field(init=False)
    _state: _State = attrs.field(default=_State.WAITING, init=False)
    _pool: Pool | None = attrs.field(default=None, init=False)
    _connection: Connection | None = attrs.field(default=None, init=False)
    _slot: Slot | None = attrs.field(default=None, init=False)
    # the number of its deadline; 0: it has none
    _deadline: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        backend, seconds = self.owner.backend, self.queue_timeout
        self.granted = backend.waiter()
        if seconds is not None:
            self._deadline = self.owner.deadlines.add(backend.now() + seconds, self._deadline_passed)

    # Queued

    @property
    def waiting(self) -> bool:
        return self._state is _State.WAITING

    @property
    def done(self) -> bool:
        """Whether it neither waits nor holds a worker."""
        return self._state is _State.OVER

    def admitted(self) -> None:
        """Whoever waits for a worker waits for that alone."""

    # the way

    def begin(self, pool: Pool, connection: Connection) -> bool:
        """Take a worker; False where its connection turned out to be closed."""
        if connection.over:
            return False
        self._state = _State.HELD
        self._slot = pool.hold(connection)
        self._pool, self._connection = pool, connection
        self.owner.reservation_held(self)
        self._wake()
        return True

    def take(self) -> tuple[Pool, Connection, Slot] | None:
        """Hand the worker over to whoever asks, who owns it from now on; None where it has left meanwhile."""
        pool, connection, slot = self._pool, self._connection, self._slot
        self._over()
        if pool is None or connection is None or slot is None or connection.over:
            return None
        return pool, connection, slot

    def end(self, error: FastCGIError, *, patience: float | None = None) -> bool:
        """Wait no longer, or give the worker back unused; return False if it is over."""
        if self._state is _State.OVER:
            return False
        pool, connection, slot = self._pool, self._connection, self._slot
        self.error = error
        self._over()
        self._wake()
        if pool is not None and connection is not None and slot is not None:
            pool.give_back(connection, slot)
        return True

    def refuse(self, error: FastCGIError, *, may_have_run: bool = False) -> None:
        """End it as it is about to begin."""
        self.end(error)

    def _over(self) -> None:
        held = self._state is _State.HELD
        self._state = _State.OVER
        self._pool = self._connection = self._slot = None
        self._cancel_deadline()
        self.owner.reservation_over(self, held=held)

    def _deadline_passed(self) -> None:
        self._deadline = 0
        self.end(
            QueueTimeout(
                f"no worker was free for the slot within {self.queue_timeout} s; "
                "give it longer, or the pool more workers"
            )
        )

    def _cancel_deadline(self) -> None:
        if self._deadline:
            self.owner.deadlines.cancel(self._deadline)
            self._deadline = 0

    def _wake(self) -> None:
        self._cancel_deadline()
        if not self.granted.done():
            self.granted.set_result(None)
