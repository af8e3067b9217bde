"""A responder's state machine in a transport's place, and somebody who waits for a response."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fcgi_async import Limits
from fcgi_async.errors import FastCGIError
from fcgi_async.pool.attempt import Attempt, JobSlot
from fcgi_async.pool.sink import StderrBuffer
from fcgi_async.wire.cgi import CGIHead
from fcgi_async.wire.events import ServerEvent, Stdin
from fcgi_async.wire.server import ServerConnection

__all__ = ("Caller", "Wire")


@attrs.define(eq=False)
class Wire:
    """A transport that hands every byte to a responder's state machine; it takes what it is told to take."""

    server: ServerConnection = attrs.field(factory=ServerConnection, init=False)
    events: list[ServerEvent] = attrs.field(factory=list, init=False)
    writes: int = attrs.field(default=0, init=False)
    peer_gone: bool = attrs.field(default=False, init=False)
    unsent: int = attrs.field(default=0, init=False)
    unread: int = attrs.field(default=0, init=False)
    aborted: bool = attrs.field(default=False, init=False)
    reading: bool = attrs.field(default=True, init=False)
    reading_shut: bool = attrs.field(default=False, init=False)
    acknowledged: int = attrs.field(default=0, init=False)
    corked: list[bytes] | None = attrs.field(default=None, init=False)
    on_write: Callable[[], None] | None = attrs.field(default=None, init=False)

    def write(self, data: bytes) -> bool:
        assert data
        assert not self.aborted
        if self.corked is not None:
            self.corked.append(data)
            return True
        if self.peer_gone:
            return False
        self.writes += 1
        self.events += self.server.receive_data(data)
        if self.on_write is not None:
            self.on_write()
        return True

    def cork(self) -> None:
        self.corked = []

    def uncork(self) -> bool:
        corked, self.corked = self.corked, None
        return not corked or self.write(b"".join(corked))

    def acknowledge(self) -> None:
        self.acknowledged += 1

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def shut_reading(self) -> None:
        self.reading_shut = True

    def abort(self) -> None:
        self.aborted = True

    def body(self) -> bytes:
        """What has come of the body."""
        return b"".join(event.data for event in self.events if isinstance(event, Stdin))


class Caller:
    """The sink of one attempt, which writes down what becomes of it."""

    head: CGIHead | None = None
    size = 0

    def __init__(self) -> None:
        self.stdout = b""
        self.ends: list[tuple[int, int]] = []
        self.failures: list[tuple[FastCGIError, bool]] = []
        self.on_stdout: Callable[[], None] | None = None

    def attempt(self, slot: JobSlot, *, waits_for_worker: bool = False) -> Attempt:
        """Return an attempt on a slot, of which this one is told."""
        attempt = Attempt(slot, Limits(), 0.0, self)
        attempt.sink, attempt.waits_for_worker = self, waits_for_worker
        return attempt

    def new_stderr(self, attempt: Attempt) -> StderrBuffer:
        return StderrBuffer(Limits().stderr)

    def attempt_over(self, attempt: Attempt) -> None:
        if attempt.whole is not None:
            attempt.collect()
        if attempt.error is not None:
            self.failures.append((attempt.error, attempt.may_have_run))
        else:
            self.ends.append((attempt.app_status, attempt.protocol_status))

    def feed(self, data: bytes) -> None:
        self.stdout += data
        if self.on_stdout is not None:
            self.on_stdout()

    def finish(self) -> None:
        """Nothing depends on the end of the head here."""

    def fail(self, error: FastCGIError) -> None:
        """The attempt has it."""

    def restart(self) -> bool:
        return True

    def content(self) -> bytes:
        return self.stdout
