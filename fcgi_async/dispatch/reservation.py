"""Wait for a worker, and hold it, before its job is known."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import attrs

from fcgi_async.errors import FastCGIError, QueueTimeout
from fcgi_async.net.backend import Backend, Timer, Waiter
from fcgi_async.pool.attempt import JobSlot

__all__ = ("Reservation",)


class _State(StrEnum):
    WAITING = "waiting"
    HELD = "held"
    OVER = "over"


@attrs.define(eq=False)
class Reservation:
    """Waits in the queue like a job, and keeps the worker that is assigned to it. Everything here is synchronous.

    Args:
        backend: the event loop.
        priority: the higher comes first.
        queue_timeout: seconds that it may wait; None for no limit.
        on_held: called when it has got a worker.
        on_over: called when it no longer waits or no longer holds a worker; the argument tells whether it held one.
    """

    backend: Backend
    priority: int
    queue_timeout: float | None
    _on_held: Callable[[Reservation], None]
    _on_over: Callable[[Reservation, bool], None]
    error: FastCGIError | None = attrs.field(default=None, init=False)
    # set when a worker is held, or there is an error
    granted: Waiter = attrs.field(init=False)
    _state: _State = attrs.field(default=_State.WAITING, init=False)
    _slot: JobSlot | None = attrs.field(default=None, init=False)
    _deadline: Timer | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.granted = self.backend.waiter()
        if self.queue_timeout is not None:
            self._deadline = self.backend.call_at(self.backend.now() + self.queue_timeout, self._deadline_passed)

    # Queued

    @property
    def waiting(self) -> bool:
        return self._state is _State.WAITING

    @property
    def done(self) -> bool:
        """Whether it no longer waits for a worker nor holds one."""
        return self._state is _State.OVER

    def admitted(self) -> None:
        """Do nothing: the caller only waits for a worker."""

    # starting

    def begin(self, slot: JobSlot) -> bool:
        """Take a worker. Return False if its connection turned out to be closed."""
        if slot.over:
            return False
        self._state = _State.HELD
        slot.hold()
        self._slot = slot
        self._on_held(self)
        self._wake()
        return True

    def take(self) -> JobSlot | None:
        """Hand the worker over to the caller, who owns it from now on. Return None if it has left meanwhile."""
        slot = self._slot
        self._over()
        return None if slot is None or slot.over else slot

    def end(self, error: FastCGIError, *, patience: float | None = None) -> bool:
        """Stop waiting, or give the worker back unused. Return False if it has ended already."""
        if self._state is _State.OVER:
            return False
        slot = self._slot
        self.error = error
        self._over()
        self._wake()
        if slot is not None:
            slot.give_back()
        return True

    def refuse(self, error: FastCGIError, *, may_have_run: bool = False) -> None:
        """End it as it is about to start."""
        self.end(error)

    def _over(self) -> None:
        held = self._state is _State.HELD
        self._state = _State.OVER
        self._slot = None
        self._cancel_deadline()
        self._on_over(self, held)

    def _deadline_passed(self) -> None:
        self._deadline = None
        self.end(
            QueueTimeout(
                f"no worker was free for the slot within {self.queue_timeout} s; "
                "allow more time, or give the pool more workers"
            )
        )

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _wake(self) -> None:
        self._cancel_deadline()
        if not self.granted.done():
            self.granted.set_result(None)
