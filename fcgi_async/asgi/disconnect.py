"""What a client asked for is not done for nobody: its handler, and so its jobs, are cancelled when it goes.

Theory of operation. A server tells of a disconnect by the message `http.disconnect`, behind the messages of the
request's body, and to whoever asks first. So a task of our own asks, ahead of the handler, and keeps for it what came:
up to `_READ_AHEAD` bytes of a body that nobody reads, so that a large upload is still taken at the handler's pace. That
task starts when the handler waits for the first time: a handler that never does could not be cancelled either.
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

    Jobs that the handler awaits end as they do whenever their caller is cancelled: those still queued never run, and
    for those that run the endpoint's `on_cancel` decides. Jobs given to `Dispatcher.submit()` belong to the dispatcher
    and go on. So do tasks that a framework runs behind a complete response.

    The handler is cancelled as by any anyio cancel scope: an `await` in a `finally` is cancelled as well, unless it is
    shielded. A disconnect behind more than 64 KiB of an unread body is noticed when the body is read. Websockets are
    passed on untouched.

    Args:
        app: the application.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; raises what it raises."""
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
            logger.debug("the client of %s has gone; what was done for it is cancelled", scope.get("path"))


@attrs.define(eq=False)
class _Exchange:
    """One request and its response, as the handler sees them."""

    _server_receive: Receive
    _server_send: Send
    handler: anyio.CancelScope = attrs.field(factory=anyio.CancelScope, init=False)
    listener: Beside = attrs.field(init=False)
    # received and not yet asked for; a disconnect stays the last of them
    _ahead: deque[Message] = attrs.field(factory=deque, init=False)
    _size: int = attrs.field(default=0, init=False)
    _failure: Exception | None = attrs.field(default=None, init=False)
    # the response is complete: a client that goes now goes in peace
    _complete: bool = attrs.field(default=False, init=False)
    # set at the next change of the above, where somebody waits for it: the handler, or the listener when too far ahead
    _changed: Event | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.listener = start_beside(self.listen)

    async def listen(self) -> None:
        """Receive until the client goes."""
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
        """Send a message, and see which is the last."""
        kind = message["type"]
        # pathsend: the server sends a file, and that is the whole body
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
