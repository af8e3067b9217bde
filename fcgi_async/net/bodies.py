"""Request bodies that take more than one write: large ones, and those whose parts come from elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from fcgi_async.net.backend import Backend
from fcgi_async.net.bell import Bell
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.spec import MAX_CONTENT

__all__ = ("Bodies",)


@attrs.define(eq=False)
class _Outgoing:
    """A body of bytes that is being written."""

    request_id: int
    rest: memoryview
    tail: bool


@attrs.define(eq=False)
class Bodies:
    """The parts of bodies on one connection that are not written yet.

    Args:
        client: the connection's state machine.
        backend: the event loop.
        send_tail: writes the probe that follows a body.
        flush: writes the state machine's output; returns whether the peer could take it.
    """

    client: ClientConnection
    backend: Backend
    send_tail: Callable[[], None]
    flush: Callable[[], bool]
    paused: bool = attrs.field(default=False, init=False)
    closed: bool = attrs.field(default=False, init=False)
    _outgoing: deque[_Outgoing] = attrs.field(factory=deque, init=False)
    # ids whose body comes through send(), and whether a tail probe follows the body
    _parts: dict[int, bool] = attrs.field(factory=dict, init=False)
    _ready: Bell = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ready = Bell(self.backend)

    @property
    def pending(self) -> bool:
        """Whether a body of bytes is being written."""
        return bool(self._outgoing)

    def open(self, request_id: int, *, tail: bool) -> None:
        """Expect a body through `send()`."""
        self._parts[request_id] = tail

    def add(self, request_id: int, body: bytes, *, tail: bool) -> None:
        """Start writing a body of bytes; `pump()` continues."""
        self._outgoing.append(_Outgoing(request_id, memoryview(body), tail))
        self._write_record(self._outgoing[-1])

    def body_pending(self, request_id: int) -> bool:
        """Return whether more of a body must come through `send()`."""
        return request_id in self._parts

    def incomplete(self, request_id: int) -> bool:
        """Return whether a part of a body has not been written."""
        return request_id in self._parts or any(body.request_id == request_id for body in self._outgoing)

    async def send(self, request_id: int, data: bytes) -> bool:
        """Write a part of a body when the socket takes more. Return False if the request has ended or the peer has
        closed.

        Cancelling between two parts leaves the body incomplete.
        """
        # one record at a time, so that a large part does not hold up other requests
        for start in range(0, len(data), MAX_CONTENT):
            while self.paused and not self.closed:
                await self._ready.wait()
            if request_id not in self._parts:
                return False
            self.client.send_stdin(request_id, memoryview(data)[start : start + MAX_CONTENT])
            if not self.flush():
                return False
        return True

    def end(self, request_id: int, *, short: bool = False) -> None:
        """End a body that came through `send()`; `short` if a part of it is missing."""
        tail = self._parts.pop(request_id, None)
        if tail is None:
            return
        if short:
            self.client.end_stdin_short(request_id, spare=not tail)
        else:
            self.client.send_stdin(request_id, end=True)
        if tail:
            self.send_tail()
        self.flush()

    def forget(self, request_id: int) -> None:
        """Stop writing a body."""
        self._outgoing = deque(body for body in self._outgoing if body.request_id != request_id)
        self._parts.pop(request_id, None)

    def pause(self) -> None:
        """Stop writing until `resume()`."""
        self.paused = True

    def resume(self) -> None:
        """Write on."""
        self.paused = False
        self._ready.ring()
        self.pump()

    def pump(self) -> None:
        """Write as much as the socket takes."""
        while self._outgoing and not self.paused and not self.closed:
            # one record of each in turn, so that a large body does not hold up other requests
            body = self._outgoing.popleft()
            self._write_record(body)
            if body.rest:
                self._outgoing.append(body)
            if not self.flush():
                self._outgoing.clear()

    def drop(self) -> None:
        """Forget the bodies of bytes: the peer takes no more."""
        self._outgoing.clear()

    def close(self) -> None:
        """Forget every body: the connection has ended."""
        self.closed = True
        self._outgoing.clear()
        self._parts.clear()
        self._ready.ring()

    def _write_record(self, body: _Outgoing) -> None:
        content, body.rest = body.rest[:MAX_CONTENT], body.rest[MAX_CONTENT:]
        self.client.send_stdin(body.request_id, content, end=not body.rest)
        if not body.rest and body.tail:
            self.send_tail()
