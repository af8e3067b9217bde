"""One connection of a client, which can have several requests at once."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable
from typing import Final

from fcgi_async.dispatch.gateway_answer import GATEWAY_FAILED
from fcgi_async.gateway.passage import Passage
from fcgi_async.gateway.serving import Serving
from fcgi_async.net.transport import Transport
from fcgi_async.net.values import GATEWAY_VALUE
from fcgi_async.wire.events import (
    AbortRequested,
    RawParams,
    RequestBegun,
    Stdin,
    StdinEnded,
    Terminated,
    ValuesRequested,
)
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import FCGI_MAX_REQS, ProtocolStatus, Role

__all__ = ("Front",)

logger = logging.getLogger("fcgi_async.gateway")

# most bytes of parameters of a request; PHP-FPM reads a record of up to 64 KiB at once
_MAX_PARAMS: Final = 1024 * 1024
_RESPONDER: Final = Role.RESPONDER
# seconds for a client to read the rest of its response before its connection is closed
_LOOK_SECONDS: Final = 0.02


class Front:
    """Handles the events of its transport. Synchronous.

    Args:
        sock: a connected, non-blocking socket.
        serving: the state that all connections share.
        closed: called once, when the connection has ended.
    """

    def __init__(self, sock: socket.socket, serving: Serving, closed: Callable[[Front], None]) -> None:
        self._serving, self._closed = serving, closed
        self._machine = ServerConnection(max_params=_MAX_PARAMS, raw_params=True)
        self._passages: dict[int, Passage] = {}
        # requests whose bodies wait for a file
        self._held_up: set[Passage] = set()
        self.behind = False
        self.shares_connections = False
        self.is_open = True
        # whether to close it when everything is sent
        self._closing = False
        self._flushing = False
        self._transport = Transport(sock, self, serving.backend)

    # TransportHandler

    def data_received(self, data: bytes | memoryview) -> bool:
        """Take what the client wrote."""
        try:
            if type(data) is bytes:
                requests, end = self._machine.receive_whole(data)
                serving, passages = self._serving, self._passages
                for request_id, keep_conn, params in requests:
                    # as `_begin()`, without a call for each
                    serving.open += 1
                    passage = passages[request_id] = Passage(self, serving, request_id, _RESPONDER, keep_conn)
                    passage.take_whole(params)
                if end == len(data):
                    return False
                data = data[end:]
            for event in self._machine.receive_data(data):
                self._receive(event)
                if not self.is_open:
                    return False
        except Exception as error:
            logger.error("closing a client's connection because of a fault in fcgi_async", exc_info=error)
            self.close()
            return False
        self._flush_soon()
        return False

    def eof_received(self) -> None:
        """Called when the client has closed, or reading was ended; `connection_lost` follows."""
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Called when the connection has ended."""
        self.close()

    def pause_writing(self) -> None:
        """Pause the workers of all its requests."""
        self._regulate(True)

    def resume_writing(self) -> None:
        """Let the workers continue."""
        self._regulate(False)

    def _regulate(self, behind: bool) -> None:
        self.behind = behind
        for passage in tuple(self._passages.values()):
            passage.regulate(behind)

    # receiving

    def _receive(self, event: object) -> None:
        match event:
            case RequestBegun(role=Role.FILTER):
                self._machine.end_request(event.request_id, 0, ProtocolStatus.UNKNOWN_ROLE)
            case RequestBegun():
                self._begin(event.request_id, event.role, event.keep_conn)
            case RawParams() | Stdin() | StdinEnded() | AbortRequested():
                passage = self._passages.get(event.request_id)
                # an earlier event of the same read may have answered it
                if passage is not None:
                    self._receive_part(passage, event)
            case ValuesRequested():
                self._answer_values(event.names)
            case Terminated(error=error):
                if error is not None:
                    logger.warning("a client broke the protocol; closing its connection: %s", error.message)
                self.close()
            case _:
                # a record of a request that was answered before the end of its body
                pass

    def _receive_part(self, passage: Passage, event: RawParams | Stdin | StdinEnded | AbortRequested) -> None:
        match event:
            case RawParams():
                passage.take_params(event.content)
            case Stdin():
                passage.take_stdin(event.data)
            case StdinEnded():
                passage.take_stdin_end()
            case AbortRequested():
                passage.leave()
                self._machine.end_request(event.request_id)
                self._forget(passage)

    def _begin(self, request_id: int, role: Role, keep_conn: bool) -> Passage:
        self._serving.open += 1
        passage = self._passages[request_id] = Passage(self, self._serving, request_id, role, keep_conn)
        return passage

    def _answer_values(self, names: Iterable[bytes]) -> None:
        self.shares_connections = True
        values = self._serving.values
        told = {name: values[name] for name in names if name in values}
        if FCGI_MAX_REQS in told:
            told[GATEWAY_VALUE] = values[GATEWAY_VALUE]
        self._machine.send_values(told)

    # Client

    def send_stdout(self, passage: Passage, data: bytes) -> None:
        """Pass on a part of a response."""
        self._machine.send_stdout(passage.request_id, data)
        self._flush_soon()

    def send_stderr(self, passage: Passage, data: bytes) -> None:
        """Pass on STDERR."""
        self._machine.send_stderr(passage.request_id, data)
        self._flush_soon()

    def send_end(self, passage: Passage, app_status: int) -> None:
        """Pass on the end of a response."""
        self._machine.end_request(passage.request_id, app_status)
        self._forget(passage)

    def send_whole(self, passage: Passage, stdout: bytes) -> None:
        """Pass on a response that came in one piece."""
        self._machine.send_whole(passage.request_id, stdout)
        self._forget(passage)

    def send_failure(self, passage: Passage, answer: bytes) -> None:
        """Send a response of the gateway's own, and its end."""
        self._machine.send_stdout(passage.request_id, answer)
        self._machine.end_request(passage.request_id, GATEWAY_FAILED)
        self._forget(passage)

    def send_overloaded(self, passage: Passage) -> None:
        """Send an END_REQUEST that means that nothing ran."""
        self._machine.end_request(passage.request_id, 0, ProtocolStatus.OVERLOADED)
        self._forget(passage)

    def break_off(self, passage: Passage) -> None:
        """Show that the rest of a response is missing."""
        if not self.shares_connections:
            # a web server treats END_REQUEST as the end of a complete response
            self.close()
            return
        self._machine.end_request(passage.request_id, GATEWAY_FAILED)
        self._forget(passage)

    def hold_up(self, passage: Passage, wanted: bool) -> None:
        """Stop or resume reading."""
        if not self.is_open:
            return
        if wanted:
            self._held_up.add(passage)
            self._transport.pause_reading()
        elif passage in self._held_up:
            self._held_up.discard(passage)
            if not self._held_up:
                self._transport.resume_reading()

    def _forget(self, passage: Passage) -> None:
        del self._passages[passage.request_id]
        if self._held_up:
            self.hold_up(passage, False)
        if not passage.keep_conn:
            self._closing = True
        if not self._flushing:
            self._flush_soon()
        serving = self._serving
        serving.open -= 1
        if serving.draining:
            serving.ended()

    # the end

    def _flush_soon(self) -> None:
        """Send in the next turn of the event loop, together with other answers, because each send wakes the client."""
        if not self._flushing:
            self._flushing = True
            self._serving.backend.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if not self.is_open:
            return
        data = self._machine.data_to_send()
        if data:
            # if the client has closed, the reader notices it
            self._transport.write(data)
        if self._closing and not self._passages:
            self._close_when_sent()

    def close_when_sent(self) -> None:
        """Close when its requests have ended and everything is sent."""
        self._closing = True
        self._flush()

    def _close_when_sent(self) -> None:
        if not self.is_open:
            return
        if self._transport.unsent:
            backend = self._serving.backend
            backend.call_at(backend.now() + _LOOK_SECONDS, self._close_when_sent)
        elif self._serving.draining:
            # what was on its way is refused, and what is written later does not arrive: neither has run
            self._transport.end_reading()
        else:
            self.close()

    def close(self) -> None:
        """Close now, and leave its running requests."""
        if not self.is_open:
            return
        self.is_open = False
        self._transport.abort()
        passages, self._passages = tuple(self._passages.values()), {}
        for passage in passages:
            passage.leave()
        self._serving.open -= len(passages)
        self._closed(self)
        self._serving.ended()
