"""Cancel a request's handler, and so its jobs, when its client disconnects.

Theory of operation. A server reports a disconnect with the message `http.disconnect`, after the messages of the
request's body, to the first task that calls `receive()`. So the middleware's own task receives ahead of the handler,
and keeps the messages: up to `_READ_AHEAD` bytes of an unread body, so that a large upload is still read at the
handler's pace. That task starts when the handler waits for the first time: a handler that never waits could not be
cancelled either.
"""

from __future__ import annotations

import logging
from collections import deque

import anyio
import attrs

from fcgi_async.asgi.beside import Beside, Event, start_beside
from fcgi_async.asgi.protocol import Application, Message, Receive, Scope, Send

__all__ = ("CancelOnDisconnect",)

logger = logging.getLogger("fcgi_async.asgi")

_READ_AHEAD = 64 * 1024


class CancelOnDisconnect:
    """ASGI middleware that cancels a request's handler when its client disconnects before the response is complete.

    Jobs that the handler awaits end as always when their caller is cancelled: queued jobs never run, and for running
    jobs the endpoint's `on_cancel` decides. Jobs passed to `Dispatcher.submit()` belong to the dispatcher and continue.
    So do tasks that a framework runs after a complete response.

    The handler is cancelled as by any anyio cancel scope: an `await` in a `finally` is cancelled too, unless it is
    shielded. A disconnect after more than 64 KiB of an unread body is noticed when the body is read. Websockets are
    passed on unchanged.

    Args:
        app: the application.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; raises what the application raises."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        try:
            with exchange.handler:
                await self._app(scope, exchange.receive, exchange.send)
        finally:
            exchange.listener.stop()
        if exchange.handler.cancelled_caught:
            logger.debug("the client of %s has disconnected; its handler is cancelled", scope.get("path"))


@attrs.define(eq=False)
class _Exchange:
    """One request and its response, as the handler uses them."""

    _server_receive: Receive
    _server_send: Send
    handler: anyio.CancelScope = attrs.field(factory=anyio.CancelScope, init=False)
    listener: Beside = attrs.field(init=False)
    # messages received and not yet passed to the handler; a disconnect stays the last one
    _ahead: deque[Message] = attrs.field(factory=deque, init=False)
    _size: int = attrs.field(default=0, init=False)
    _failure: Exception | None = attrs.field(default=None, init=False)
    # the response is complete; a disconnect from here on is normal
    _complete: bool = attrs.field(default=False, init=False)
    # set at the next change of the above, if a task waits for it: the handler, or the listener if it is too far ahead
    _changed: Event | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.listener = start_beside(self.listen)

    async def listen(self) -> None:
        """Receive until the client disconnects."""
        try:
            while True:
                while self._size > _READ_AHEAD:
                    await self._change()
                message = await self._server_receive()
                self._ahead.append(message)
                self._size += len(message.get("body", b""))
                self._wake()
                if message["type"] == "http.disconnect":
                    break
        except Exception as error:
            self._failure = error
            self._wake()
            return
        if not self._complete:
            self.handler.cancel()

    async def receive(self) -> Message:
        """Return the next message; cancelling loses none."""
        while not self._ahead:
            if self._failure is not None:
                raise self._failure
            await self._change()
        message = self._ahead[0]
        if message["type"] != "http.disconnect":
            self._ahead.popleft()
            self._size -= len(message.get("body", b""))
            self._wake()
        return message

    async def send(self, message: Message) -> None:
        """Send a message, and detect the last one."""
        kind = message["type"]
        # pathsend: the server sends a file, which is the whole body
        if kind == "http.response.pathsend" or (kind == "http.response.body" and not message.get("more_body", False)):
            self._complete = True
        await self._server_send(message)

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = self.listener.event()
        await self._changed.wait()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
