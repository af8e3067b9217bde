"""A worker that is waited for, and held, before the job that it will run is known."""

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
    """Stands in the queue as a job does, and keeps the worker that is then assigned to it. All synchronous.

    Args:
        backend: the event loop.
        priority: higher comes first.
        queue_timeout: seconds until it is given up, while it waits; None for no limit.
        on_held: called when a worker was taken for it.
        on_over: called when it waits no longer, or holds no worker any more, with whether it held one.
    """

    backend: Backend
    priority: int
    queue_timeout: float | None
    _on_held: Callable[[Reservation], None]
    _on_over: Callable[[Reservation, bool], None]
    error: FastCGIError | None = attrs.field(default=None, init=False)
    # done once a worker is held, or there is an error
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
        """Whether it neither waits nor holds a worker."""
        return self._state is _State.OVER

    def admitted(self) -> None:
        """Whoever waits for a worker waits for that alone."""

    # the way

    def begin(self, slot: JobSlot) -> bool:
        """Take a worker; False if its connection turned out to be closed."""
        if slot.over:
            return False
        self._state = _State.HELD
        slot.hold()
        self._slot = slot
        self._on_held(self)
        self._wake()
        return True

    def take(self) -> JobSlot | None:
        """Hand the worker over to whoever asks, who owns it from now on; None if it has left meanwhile."""
        slot = self._slot
        self._over()
        return None if slot is None or slot.over else slot

    def end(self, error: FastCGIError, *, patience: float | None = None) -> bool:
        """Wait no longer, or give the worker back unused; return False if it is over."""
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
        """End it as it is about to begin."""
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
                "give it longer, or the pool more workers"
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
